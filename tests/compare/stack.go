package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"keygate/tests/programs"
)

func openStack(ctx context.Context, b *bench) ([]subject, error) {
	own, err := openKeygate(ctx, b)
	if err != nil {
		return nil, err
	}
	whole, err := openStandalone(ctx, b)
	if err != nil {
		return nil, err
	}
	all := []subject{own, whole}
	for _, mode := range []string{"cached", "naive"} {
		rival, err := b.optional(ctx, func(ctx context.Context, b *bench) (subject, error) { return openFastAPI(ctx, b, mode) })
		if err != nil {
			return nil, err
		}
		all = append(all, rival...)
	}
	return all, nil
}

// openKeygate starts a writer and a proxy in front of it.
func openKeygate(ctx context.Context, b *bench) (subject, error) {
	writer, err := b.StartOwn(ctx, "writer", programs.Launcher{})
	if err != nil {
		return subject{}, err
	}
	proxy, err := b.StartOwn(ctx, "proxy", programs.Launcher{
		Arguments: []string{"--upstream", "http://" + writer.Address, "--upstream-idempotent", "/"},
	})
	if err != nil {
		return subject{}, err
	}
	target := "http://" + proxy.Address
	return subject{
		name: "keygate", version: programs.VersionOf(ctx, b.Path("proxy"), "--version"), target: target,
		parts: append([]programs.Part{proxy.Part(), writer.Part()}, b.Servers()...), load: b.loadtest(target),
	}, nil
}

// openStandalone starts both in one process, on the same servers.
func openStandalone(ctx context.Context, b *bench) (subject, error) {
	p, err := b.StartStandalone(ctx)
	if err != nil {
		return subject{}, err
	}
	return subject{
		name: "keygate, in one process", version: programs.VersionOf(ctx, b.Path("standalone"), "--version"),
		parts: append([]programs.Part{p.Part()}, b.Servers()...), load: b.loadtest("http://" + p.Address),
	}, nil
}

// Two workers were the best of one, two and four on two cores.
const fastAPIWorkers = "2"

func openFastAPI(ctx context.Context, b *bench, mode string) (subject, error) {
	python, err := findPython(ctx)
	if err != nil {
		return subject{}, err
	}
	if err := b.seedRival(ctx); err != nil {
		return subject{}, err
	}
	source, err := b.fill("service.py", "", "")
	if err != nil {
		return subject{}, err
	}
	address, err := programs.FreeAddress()
	if err != nil {
		return subject{}, err
	}
	p, err := b.Start(ctx, "fastapi-"+mode, programs.Launch{
		Path: python, Listen: address,
		Args: []string{"-m", "uvicorn", "service:app", "--app-dir", filepath.Dir(source),
			"--port", address[strings.LastIndexByte(address, ':')+1:], "--workers", fastAPIWorkers,
			"--log-level", "warning", "--no-access-log"},
		Env: []string{"MODE=" + mode, "REDIS_URL=" + b.Redis.URL(), "PYTHONDONTWRITEBYTECODE=1",
			"DATABASE_URL=" + strings.Replace(b.Postgres.URL(rivalDatabase), "postgres://", "postgresql+asyncpg://", 1)},
	})
	if err != nil {
		return subject{}, err
	}
	version := programs.VersionOf(ctx, python, "-c", "import fastapi, uvicorn\n"+
		"print('FastAPI', fastapi.__version__, 'uvicorn', uvicorn.__version__)")
	return subject{
		name: "FastAPI, " + mode, version: version,
		parts: append([]programs.Part{p.Part()}, b.Servers()...), load: b.loadtest("http://" + address),
	}, nil
}

// findPython looks for an interpreter that has what the service imports. Debian's packages are for its own, which another
// may hide.
func findPython(ctx context.Context) (string, error) {
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		const wanted = "import fastapi, uvicorn, uvloop, httptools, asyncpg, sqlalchemy, redis"
		if path, err := exec.LookPath(name); err == nil && exec.CommandContext(ctx, path, "-c", wanted).Run() == nil {
			return path, nil
		}
	}
	return "", missingError{"the FastAPI service's environment", "python3-fastapi python3-uvicorn python3-uvloop " +
		"python3-httptools python3-asyncpg python3-sqlalchemy python3-redis"}
}

// seedRival makes the service's tables once, with the organisations and keys that keygate has.
func (b *bench) seedRival(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, b.Postgres.URL(rivalDatabase))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var exists bool
	if err := conn.QueryRow(ctx, "select to_regclass('events') is not null").Scan(&exists); err != nil || exists {
		return err
	}
	schema, err := rivals.ReadFile("rivals/schema.sql")
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, string(schema)); err != nil {
		return err
	}
	for _, key := range b.keys {
		hash := sha256.Sum256([]byte(key.Key))
		_, err := conn.Exec(ctx, "insert into organizations values ($1, $2, $3)", key.OrgID, key.Key[:17], hash[:])
		if err != nil {
			return fmt.Errorf("seeding the FastAPI service: %w", err)
		}
	}
	return nil
}
