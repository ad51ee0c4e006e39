package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// findServers learns the process ids of PostgreSQL and Redis.
func (b *bench) findServers(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, b.postgres.URL(ownDatabase))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	all, err := processes()
	if err != nil {
		return err
	}
	b.database = all[int(conn.PgConn().PID())].parent

	options, err := redis.ParseURL(b.redis.URL())
	if err != nil {
		return err
	}
	client := redis.NewClient(options)
	defer client.Close()
	info, err := client.InfoMap(ctx, "server").Result()
	if err != nil {
		return err
	}
	b.cache, err = strconv.Atoi(info["Server"]["process_id"])
	return err
}

func (b *bench) servers() []part {
	return []part{{"PostgreSQL", b.database}, {"Redis", b.cache}}
}

func openStack(ctx context.Context, b *bench) ([]subject, error) {
	own, err := openKeygate(ctx, b)
	if err != nil {
		return nil, err
	}
	all := []subject{own}
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
	writer, address, err := b.startOwn(ctx, "writer")
	if err != nil {
		return subject{}, err
	}
	proxy, edge, err := b.startOwn(ctx, "proxy", "--upstream", "http://"+address, "--upstream-idempotent", "/")
	if err != nil {
		return subject{}, err
	}
	target := "http://" + edge
	return subject{
		name: "keygate", version: versionOf(ctx, filepath.Join(b.bin, "proxy"), "--version"), target: target,
		parts: append([]part{{"proxy", proxy.cmd.Process.Pid}, {"writer", writer.cmd.Process.Pid}}, b.servers()...),
		load:  b.loadtest(target),
	}, nil
}

// startOwn starts one of keygate's programs on a free address.
func (b *bench) startOwn(ctx context.Context, name string, arguments ...string) (*program, string, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, "", err
	}
	arguments = append([]string{"serve", "--listen", address, "--admin-listen", "127.0.0.1:0"}, arguments...)
	p, err := b.start(ctx, name, launch{
		path: filepath.Join(b.bin, name), args: arguments, env: b.environment(), listen: address,
	})
	return p, address, err
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
	address, err := freeAddress()
	if err != nil {
		return subject{}, err
	}
	p, err := b.start(ctx, "fastapi-"+mode, launch{
		path: python, listen: address,
		args: []string{"-m", "uvicorn", "service:app", "--app-dir", filepath.Dir(source),
			"--port", address[strings.LastIndexByte(address, ':')+1:], "--workers", fastAPIWorkers,
			"--log-level", "warning", "--no-access-log"},
		env: []string{"MODE=" + mode, "REDIS_URL=" + b.redis.URL(), "PYTHONDONTWRITEBYTECODE=1",
			"DATABASE_URL=" + strings.Replace(b.postgres.URL(rivalDatabase), "postgres://", "postgresql+asyncpg://", 1)},
	})
	if err != nil {
		return subject{}, err
	}
	version := versionOf(ctx, python, "-c", "import fastapi, uvicorn\n"+
		"print('FastAPI', fastapi.__version__, 'uvicorn', uvicorn.__version__)")
	return subject{
		name: "FastAPI, " + mode, version: version,
		parts: append([]part{{"service", p.cmd.Process.Pid}}, b.servers()...), load: b.loadtest("http://" + address),
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
	conn, err := pgx.Connect(ctx, b.postgres.URL(rivalDatabase))
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
