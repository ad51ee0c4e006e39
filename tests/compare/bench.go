package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"keygate/tests/servers"
)

//go:embed rivals
var rivals embed.FS

// keyCount is how many keys the load takes in turn: all fit every cache, as in the service that is replaced.
const keyCount = 100

// bench is what all groups share: the servers, the keys, and every program that runs until the end.
type bench struct {
	options
	dir      string
	postgres *servers.PostgresServer
	redis    *servers.RedisServer
	database int // process ids
	cache    int
	keys     []apiKey
	keysFile string
	secret   string
	programs []*program
	missing  []string // in words
}

// apiKey is what keys create prints.
type apiKey struct {
	Key   string `json:"key"`
	OrgID string `json:"org_id"`
}

// open starts PostgreSQL and Redis and makes keygate's tables and keys.
func open(ctx context.Context, o options) (b *bench, err error) {
	b = &bench{options: o, secret: "a secret of the comparison alone"}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if b.bin, err = filepath.Abs(o.bin); err != nil {
		return b, err
	}
	if b.dir, err = os.MkdirTemp("", "keygate-compare-"); err != nil {
		return b, err
	}
	if err = os.Chmod(b.dir, 0o755); err != nil { // nginx gives its privileges up
		return b, err
	}
	// The FastAPI service has two workers of up to 50 connections, in two modes.
	if b.postgres, err = servers.OpenPostgres("max_connections=300"); err != nil {
		return b, err
	}
	if b.redis, err = servers.OpenRedis(); err != nil {
		return b, err
	}
	for _, step := range []func(context.Context) error{b.createDatabases, b.findServers, b.migrate, b.createKeys} {
		if err := step(ctx); err != nil {
			return b, err
		}
	}
	return b, nil
}

func (b *bench) close() error {
	err := b.stopAfter(0)
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

// stopAfter ends the programs that were started after the first n, the last one first.
func (b *bench) stopAfter(n int) error {
	var err error
	for ; len(b.programs) > n; b.programs = b.programs[:len(b.programs)-1] {
		err = errors.Join(err, b.programs[len(b.programs)-1].stop())
	}
	return err
}

const (
	ownDatabase   = "keygate"
	rivalDatabase = "rival"
)

func (b *bench) createDatabases(ctx context.Context) error {
	if err := b.sql(ctx, "postgres", "create database "+ownDatabase); err != nil {
		return err
	}
	return b.sql(ctx, "postgres", "create database "+rivalDatabase)
}

func (b *bench) sql(ctx context.Context, database, statement string, arguments ...any) error {
	conn, err := pgx.Connect(ctx, b.postgres.URL(database))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement, arguments...)
	return errors.Join(err, conn.Close(ctx))
}

// environment is what keygate's programs are told.
func (b *bench) environment() []string {
	return []string{"DATABASE_URL=" + b.postgres.URL(ownDatabase), "REDIS_URL=" + b.redis.URL(), "TRUST_SECRET=" + b.secret}
}

// command runs one of keygate's programs to its end.
func (b *bench) command(ctx context.Context, program string, arguments ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(b.bin, program), arguments...)
	cmd.Env = append(os.Environ(), b.environment()...)
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%s %s: %s", program, arguments[0], strings.TrimSpace(string(exit.Stderr)))
	}
	return out, err
}

func (b *bench) migrate(ctx context.Context) error {
	for _, program := range []string{"proxy", "writer"} {
		if _, err := b.command(ctx, program, "migrate", "up"); err != nil {
			return err
		}
	}
	return nil
}

// createKeys makes the keys, and the files that the load generator and the rivals take them from.
func (b *bench) createKeys(ctx context.Context) error {
	var list, nginx, haproxy strings.Builder
	for i := range keyCount {
		out, err := b.command(ctx, "proxy", "keys", "create", "--json", "--org-name", fmt.Sprint("organisation ", i))
		if err != nil {
			return err
		}
		var key apiKey
		if err := json.Unmarshal(out, &key); err != nil {
			return fmt.Errorf("reading a new key: %w", err)
		}
		b.keys = append(b.keys, key)
		fmt.Fprintln(&list, key.Key)
		fmt.Fprintf(&nginx, "%q %q;\n", key.Key, key.OrgID)
		fmt.Fprintln(&haproxy, key.Key, key.OrgID)
	}
	b.keysFile = filepath.Join(b.dir, "keys")
	return errors.Join(
		os.WriteFile(b.keysFile, []byte(list.String()), 0o600),
		os.WriteFile(filepath.Join(b.dir, "keys.nginx"), []byte(nginx.String()), 0o644),
		os.WriteFile(filepath.Join(b.dir, "keys.haproxy"), []byte(haproxy.String()), 0o644),
	)
}

// fill writes a rival's configuration with its placeholders filled in, and returns the path.
func (b *bench) fill(name, listen, upstream string) (string, error) {
	text, err := rivals.ReadFile("rivals/" + name)
	if err != nil {
		return "", err
	}
	filled := strings.NewReplacer("@DIR@", b.dir, "@LISTEN@", listen, "@UPSTREAM@", upstream).Replace(string(text))
	path := filepath.Join(b.dir, name)
	return path, os.WriteFile(path, []byte(filled), 0o644)
}
