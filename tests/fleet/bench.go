package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"keygate/tests/programs"
	"keygate/tests/servers"
)

// patience is for what takes milliseconds on an idle machine.
const patience = 30 * time.Second

// bench is what every fleet stands on: PostgreSQL, Redis, an upstream that always answers 201, and the built proxy.
type bench struct {
	dir       string
	postgres  *servers.PostgresServer
	redis     *servers.RedisServer
	operator  *redis.Client
	stub      *programs.Program // the upstream
	databases int
}

// open starts everything but the proxies.
func open(ctx context.Context) (b *bench, err error) {
	b = &bench{}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if b.dir, err = os.MkdirTemp("", "keygate-fleet-"); err != nil {
		return b, err
	}
	if err := b.build(ctx); err != nil {
		return b, err
	}
	if b.postgres, err = servers.OpenPostgres(); err != nil {
		return b, err
	}
	if b.redis, err = servers.OpenRedis(); err != nil {
		return b, err
	}
	// What redis-cli says, and nothing besides.
	b.operator = redis.NewClient(&redis.Options{Addr: b.redis.Addr(), Protocol: 2, DisableIdentity: true})
	b.stub, err = programs.StartStub(ctx, b.dir)
	return b, err
}

// build makes the proxy, and has it know which commit it is.
func (b *bench) build(ctx context.Context) error {
	commit, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	version := "-X keygate/shared/build.Version=" + strings.TrimSpace(string(commit))
	build := exec.CommandContext(ctx, "go", "build", "-o", b.dir, "-ldflags", version, "keygate/proxy")
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the proxy: %w: %s", err, strings.TrimSpace(string(said)))
	}
	return nil
}

func (b *bench) close() error {
	var err error
	if b.stub != nil {
		err = b.stub.Stop(patience)
	}
	if b.operator != nil {
		err = errors.Join(err, b.operator.Close())
	}
	if b.redis != nil {
		err = errors.Join(err, b.redis.Close())
	}
	if b.postgres != nil {
		err = errors.Join(err, b.postgres.Close())
	}
	if b.dir != "" {
		err = errors.Join(err, os.RemoveAll(b.dir))
	}
	return err
}

// database makes an empty database, and returns its URL.
func (b *bench) database(ctx context.Context) (string, error) {
	b.databases++
	name := fmt.Sprint("fleet_", b.databases)
	conn, err := pgx.Connect(ctx, b.postgres.URL("postgres"))
	if err != nil {
		return "", err
	}
	_, err = conn.Exec(ctx, "create database "+name)
	return b.postgres.URL(name), errors.Join(err, conn.Close(ctx))
}

// command runs the proxy's program to its end.
func (b *bench) command(ctx context.Context, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(b.dir, "proxy"), args...)
	cmd.Env = env
	said, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("proxy %q: %w: %s", args, err, strings.TrimSpace(string(said)))
	}
	return strings.TrimSpace(string(said)), nil
}
