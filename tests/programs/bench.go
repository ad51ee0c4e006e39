// Package programs runs keygate's programs, the servers below them and whatever else is measured beside them, each as a
// process of its own.
package programs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"keygate/tests/servers"
)

// OwnDatabase is the database of keygate's own tables.
const OwnDatabase = "keygate"

// secret is what proxy and writer trust each other by; it protects nothing but the measurement.
const secret = "a secret of the measurement alone"

// Bench is one PostgreSQL, one Redis, and every program that runs on them until Close. It belongs to one goroutine.
type Bench struct {
	Dir      string // for what lives as long as the bench
	Postgres *servers.PostgresServer
	Redis    *servers.RedisServer

	bin      string
	parts    []Part
	programs []*Program
}

// Part is a process whose CPU time counts, with all that it starts unless that is counted apart.
type Part struct {
	Name  string
	PID   int
	Alone bool
}

// OpenServers starts PostgreSQL, with further settings as name=value, and Redis.
func OpenServers(settings ...string) (b *Bench, err error) {
	b = &Bench{}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if b.Dir, err = os.MkdirTemp("", "keygate-bench-"); err != nil {
		return b, err
	}
	if err = os.Chmod(b.Dir, 0o755); err != nil { // nginx gives its privileges up
		return b, err
	}
	if b.Postgres, err = servers.OpenPostgres(settings...); err != nil {
		return b, err
	}
	b.Redis, err = servers.OpenRedis()
	return b, err
}

// Open is OpenServers, makes PostgreSQL like one that has run for a while, and keygate's tables. The programs are those in
// bin.
func Open(ctx context.Context, bin string, settings ...string) (b *Bench, err error) {
	if b, err = OpenServers(settings...); err != nil {
		return b, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if b.bin, err = filepath.Abs(bin); err != nil {
		return b, err
	}
	if err = b.ageLog(ctx); err != nil {
		return b, err
	}
	if err = b.SQL(ctx, "postgres", "create database "+OwnDatabase); err != nil {
		return b, err
	}
	if b.parts, err = b.findServers(ctx); err != nil {
		return b, err
	}
	for _, program := range []string{"proxy", "writer"} {
		if err = b.command(ctx, program, "migrate", "up"); err != nil {
			return b, err
		}
	}
	return b, nil
}

// Close ends what still runs, and removes the directory.
func (b *Bench) Close() error {
	err := b.StopAfter(0)
	if b.Redis != nil {
		err = errors.Join(err, b.Redis.Close())
	}
	if b.Postgres != nil {
		err = errors.Join(err, b.Postgres.Close())
	}
	if b.Dir != "" {
		err = errors.Join(err, os.RemoveAll(b.Dir))
	}
	return err
}

// Running is how many programs run.
func (b *Bench) Running() int { return len(b.programs) }

// StopAfter ends the programs that were started after the first n, the last one first.
func (b *Bench) StopAfter(n int) error {
	var err error
	for ; len(b.programs) > n; b.programs = b.programs[:len(b.programs)-1] {
		err = errors.Join(err, b.programs[len(b.programs)-1].Stop(patience))
	}
	return err
}

// Servers are the processes of PostgreSQL and Redis, in this order.
func (b *Bench) Servers() []Part { return b.parts }

// SQL runs one statement.
func (b *Bench) SQL(ctx context.Context, database, statement string, arguments ...any) error {
	conn, err := pgx.Connect(ctx, b.Postgres.URL(database))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement, arguments...)
	return errors.Join(err, conn.Close(ctx))
}

// ageLog brings PostgreSQL into the state of one that has run for a while: it has the files that its log needs, up to its
// default max_wal_size of a gigabyte, and uses them again. A new cluster makes one for each 16 MiB, and all commits wait
// while it is filled with zeros: some 40 ms, once a second at 14,000 events a second. It takes five seconds.
func (b *Bench) ageLog(ctx context.Context) error {
	const advance = `do $$ begin
		for i in 1..64 loop
			perform pg_logical_emit_message(false, '', ''), pg_switch_wal();
		end loop;
	end $$`
	if err := b.SQL(ctx, "postgres", advance); err != nil {
		return err
	}
	return b.SQL(ctx, "postgres", "checkpoint")
}

// Path is where one of keygate's programs lies.
func (b *Bench) Path(program string) string { return filepath.Join(b.bin, program) }

// environment is what keygate's programs are told.
func (b *Bench) environment() []string {
	return []string{"DATABASE_URL=" + b.Postgres.URL(OwnDatabase), "REDIS_URL=" + b.Redis.URL(), "TRUST_SECRET=" + secret}
}

// command runs one of keygate's programs to its end.
func (b *Bench) command(ctx context.Context, program string, arguments ...string) error {
	cmd := exec.CommandContext(ctx, b.Path(program), arguments...)
	cmd.Env = append(os.Environ(), b.environment()...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, arguments[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
