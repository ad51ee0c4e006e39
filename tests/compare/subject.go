package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"keygate/tests/programs"
)

// subject is what is loaded: a program, or several that do one job together.
type subject struct {
	name    string
	version string
	target  string // URL, without a path
	parts   []programs.Part
	load    func(ctx context.Context) (figures, error) // for the duration of one round
}

// group is a set of subjects that do the same job. The first is keygate, to which the others are compared.
type group struct {
	name, title string
	open        func(ctx context.Context, b *bench) ([]subject, error)
}

var groups = []group{
	{"stack", "Single events, stored durably", openStack},
	{"hop", "The hop alone, over a stub that always answers 201", openHop},
	{"batch", "Batches of events, stored durably", openBatch},
}

// missingError names a program that this machine lacks.
type missingError struct{ program, install string }

func (e missingError) Error() string {
	return fmt.Sprintf("%s is not installed (sudo apt-get install %s)", e.program, e.install)
}

// optional opens a rival, and leaves it out of the comparison, by name, if this machine lacks it.
func (b *bench) optional(ctx context.Context, open func(ctx context.Context, b *bench) (subject, error)) ([]subject, error) {
	s, err := open(ctx, b)
	if missing, ok := errors.AsType[missingError](err); ok {
		b.missing = append(b.missing, missing.Error())
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []subject{s}, nil
}

// find looks for a program in PATH and where Debian keeps servers.
func find(program string) (string, error) {
	for _, name := range []string{program, "/usr/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", missingError{program, program}
}
