package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"keygate/shared/build"
	"keygate/tests/programs"
)

// result is the file that is saved: every figure of every round, and where and of what they were taken.
type result struct {
	StartedAt   time.Time       `json:"started_at"`
	Commit      string          `json:"commit"`
	Machine     string          `json:"machine"`
	Rounds      int             `json:"rounds"`
	DurationS   float64         `json:"duration_s"`
	Concurrency int             `json:"concurrency"`
	Versions    []string        `json:"versions"`
	Missing     []string        `json:"missing,omitempty"`
	Groups      []measuredGroup `json:"groups"`
}

type measuredGroup struct {
	Name     string     `json:"name"`
	Title    string     `json:"title"`
	Subjects []measured `json:"subjects"`
}

// measured is one subject with all its rounds.
type measured struct {
	Name    string    `json:"name"`
	Version string    `json:"version"`
	Rounds  []figures `json:"rounds"`
}

func newResult(ctx context.Context, b *bench) *result {
	return &result{
		StartedAt: time.Now().UTC().Truncate(time.Second), Commit: cmp.Or(build.Info().Commit, build.Info().Version),
		Machine: programs.Machine(), Rounds: b.rounds, DurationS: b.duration.Seconds(), Concurrency: b.concurrency,
		Versions: b.Versions(ctx),
	}
}

// measure loads the subjects of a group in turn, beginning with another one each round, and prints the table.
func (r *result) measure(ctx context.Context, b *bench, g group) (err error) {
	running := b.Running()
	defer func() { err = errors.Join(err, b.StopAfter(running)) }()
	fmt.Fprintf(os.Stderr, "%s: starting the programs\n", g.name)
	subjects, err := g.open(ctx, b)
	r.Missing = b.missing
	if err != nil {
		return err
	}
	own := measuredGroup{Name: g.name, Title: g.title}
	for _, s := range subjects {
		own.Subjects = append(own.Subjects, measured{Name: s.name, Version: s.version})
	}
	for round := range b.rounds + 1 {
		for turn := range subjects {
			i := (round + turn) % len(subjects)
			got, err := subjects[i].round(ctx)
			if err != nil {
				return err
			}
			if round == 0 {
				continue // pools, caches and plans fill
			}
			own.Subjects[i].Rounds = append(own.Subjects[i].Rounds, got)
			fmt.Fprintf(os.Stderr, "%s: round %d of %d: %s: %.0f events/s\n",
				g.name, round, b.rounds, subjects[i].name, got.PerSecond)
		}
	}
	r.Groups = append(r.Groups, own)
	fmt.Println(own.table())
	return nil
}

// save writes the figures as JSON and the tables as Markdown beside them.
func (r *result) save(dir string) error {
	path := filepath.Join(dir, r.StartedAt.Format("2006-01-02T150405Z"))
	if err := programs.Save(path, r, map[string]string{".md": r.markdown()}); err != nil {
		return err
	}
	for _, missing := range r.Missing {
		fmt.Println("Not measured:", missing)
	}
	fmt.Printf("Saved as %s.json and %s.md.\n", path, path)
	return nil
}
