package programs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// Launcher is how one of keygate's programs is started: with Environment and Arguments besides what all of them get.
type Launcher struct {
	Address     string // where it listens; empty: on a free address
	Environment []string
	Arguments   []string
}

// StartOwn starts one of keygate's programs, "proxy" or "writer".
func (b *Bench) StartOwn(ctx context.Context, name string, l Launcher) (_ *Program, err error) {
	if l.Address == "" {
		if l.Address, err = FreeAddress(); err != nil {
			return nil, err
		}
	}
	return b.Start(ctx, name, Launch{
		Path: b.Path(name), Env: append(b.environment(), l.Environment...), Listen: l.Address,
		Args: append([]string{"serve", "--listen", l.Address, "--admin-listen", "127.0.0.1:0"}, l.Arguments...),
	})
}

// StartStandalone starts proxy and writer in one process.
func (b *Bench) StartStandalone(ctx context.Context) (*Program, error) {
	address, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	args := []string{"--data-dir", filepath.Join(b.Dir, "standalone"), "--proxy-listen", address}
	for _, other := range []string{"proxy-admin", "writer", "writer-admin"} {
		args = append(args, "--"+other+"-listen", "127.0.0.1:0")
	}
	return b.Start(ctx, "standalone", Launch{Path: b.Path("standalone"), Env: b.environment(), Listen: address, Args: args})
}

// StartStub builds the server that answers everything with one 201, and starts it until it is stopped or the bench closed.
// It is the one against which the load generator itself is measured.
func (b *Bench) StartStub(ctx context.Context) (*Program, error) {
	if err := Build(ctx, b.Dir, "keygate/tests/load/testdata/responder"); err != nil {
		return nil, err
	}
	p := &Program{name: "stub", cmd: exec.Command(filepath.Join(b.Dir, "responder")), ended: make(chan struct{})}
	p.cmd.SysProcAttr = dieWithUs()
	printed, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(printed).ReadString('\n')
	go func() {
		_, _ = io.Copy(io.Discard, printed)
		p.wait()
	}()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the stub does not say where it listens: %w", err), p.Stop(patience))
	}
	p.Address = strings.TrimSpace(line)
	b.programs = append(b.programs, p)
	return p, nil
}

// findServers learns the process ids of PostgreSQL and Redis.
func (b *Bench) findServers(ctx context.Context) ([]Part, error) {
	conn, err := pgx.Connect(ctx, b.Postgres.URL(OwnDatabase))
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	all, err := processes()
	if err != nil {
		return nil, err
	}
	database := all[int(conn.PgConn().PID())].parent

	options, err := redis.ParseURL(b.Redis.URL())
	if err != nil {
		return nil, err
	}
	client := redis.NewClient(options)
	info, err := client.InfoMap(ctx, "server").Result()
	if err = errors.Join(err, client.Close()); err != nil {
		return nil, err
	}
	cache, err := strconv.Atoi(info["Server"]["process_id"])
	return []Part{{Name: "PostgreSQL", PID: database}, {Name: "Redis", PID: cache}}, err
}
