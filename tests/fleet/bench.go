package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"keygate/tests/programs"
)

// patience is for what takes milliseconds on an idle machine.
const patience = 30 * time.Second

// bench is what every fleet stands on: PostgreSQL, Redis, an upstream that always answers 201, and the built proxy.
type bench struct {
	*programs.Bench
	operator  *redis.Client
	stub      *programs.Program // the upstream
	databases int
}

// open starts everything but the proxies.
func open(ctx context.Context) (b *bench, err error) {
	b = &bench{}
	if b.Bench, err = programs.OpenServers(); err != nil {
		return b, err
	}
	// What redis-cli says, and nothing besides.
	b.operator = redis.NewClient(&redis.Options{Addr: b.Redis.Addr(), Protocol: 2, DisableIdentity: true})
	if err = b.build(ctx); err == nil {
		b.stub, err = b.StartStub(ctx)
	}
	if err != nil {
		err = errors.Join(err, b.close())
	}
	return b, err
}

// build makes the proxy, and has it know which commit it is, and the program that crowds are.
func (b *bench) build(ctx context.Context) error {
	commit, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	version := "-X keygate/shared/build.Version=" + strings.TrimSpace(string(commit))
	return programs.Build(ctx, b.Dir, "-ldflags", version, "keygate/proxy", "keygate/tests/fleet")
}

func (b *bench) close() error { return errors.Join(b.operator.Close(), b.Bench.Close()) }

// database makes an empty database, and returns its URL.
func (b *bench) database(ctx context.Context) (string, error) {
	b.databases++
	name := fmt.Sprint("fleet_", b.databases)
	return b.Postgres.URL(name), b.SQL(ctx, "postgres", "create database "+name)
}

// command runs the proxy's program to its end.
func (b *bench) command(ctx context.Context, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(b.Dir, "proxy"), args...)
	cmd.Env = env
	said, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("proxy %q: %w: %s", args, err, strings.TrimSpace(string(said)))
	}
	return strings.TrimSpace(string(said)), nil
}
