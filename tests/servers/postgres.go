package servers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The superuser that initdb makes. Nobody but loopback reaches the server, and everybody there is trusted.
const superuser = "keygate"

// A connection to a server on this machine takes milliseconds; one to a paused server never comes.
const connectTimeout = 5 * time.Second

// PostgresServer is one PostgreSQL server. Stop, Kill, Start, Pause and Continue are for the one goroutine of the test
// that started it, and end that test if they fail; the rest is safe for concurrent use.
type PostgresServer struct {
	tb      testing.TB // nil when shared
	process *process   // nil when another process owns it
	program string
	args    []string
	admin   url.URL
}

// StartPostgres starts a server for one test, with further settings as name=value. It is gone when the test ends.
func StartPostgres(tb testing.TB, settings ...string) *PostgresServer {
	tb.Helper()
	server, err := OpenPostgres(settings...)
	check(tb, err)
	server.tb = tb
	tb.Cleanup(func() {
		if err := server.Close(); err != nil {
			tb.Error(err)
		}
	})
	return server
}

// OpenPostgres starts a server for whoever calls Close on it.
func OpenPostgres(settings ...string) (*PostgresServer, error) {
	programs, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	account, err := postgresAccount()
	if err != nil {
		return nil, err
	}
	// SIGQUIT is an immediate shutdown: no checkpoint, but the shared memory is given back.
	process, err := newProcess("postgres", "QUIT", account)
	if err != nil {
		return nil, err
	}
	server := &PostgresServer{process: process, program: filepath.Join(programs, "postgres")}
	if err := server.create(programs, settings); err != nil {
		return nil, errors.Join(err, process.close())
	}
	return server, nil
}

// postgresAt is a server that another process owns.
func postgresAt(admin string) (*PostgresServer, error) {
	parsed, err := url.Parse(admin)
	if err != nil {
		return nil, fmt.Errorf("%s is no URL", PostgresVariable)
	}
	return &PostgresServer{admin: *parsed}, nil
}

// URL returns the URL of a database of this server, which need not exist.
func (s *PostgresServer) URL(database string) string {
	admin := s.admin
	admin.Path = "/" + database
	return admin.String()
}

// Database creates an empty database and returns its URL. It is dropped when the test ends.
func (s *PostgresServer) Database(tb testing.TB) string {
	tb.Helper()
	name := "test_" + strings.ToLower(rand.Text())
	check(tb, s.execute("create database "+name+" template template0"))
	if s.tb == nil { // else the whole server is about to go, and may well be down
		tb.Cleanup(func() {
			if err := s.execute("drop database " + name + " with (force)"); err != nil {
				tb.Error(err)
			}
		})
	}
	return s.URL(name)
}

// Stop is a fast shutdown: sessions are cut off, their transactions rolled back, and a checkpoint is written.
func (s *PostgresServer) Stop() { s.own().fault(s.process.stop(syscall.SIGINT)) }

// Kill ends all processes of the server at once, as a crash of the machine would. What fsync has confirmed remains.
func (s *PostgresServer) Kill() { s.own().fault(s.process.kill()) }

// Start starts the server again after Stop or Kill, on the same port and data, and returns when it accepts connections.
func (s *PostgresServer) Start() { s.own().fault(s.start()) }

// Pause freezes all processes of the server: connections stay open and nothing answers.
func (s *PostgresServer) Pause() {
	_, err := s.own().process.pause()
	s.fault(err)
}

// Continue ends a Pause.
func (s *PostgresServer) Continue() { s.own().fault(s.process.resume()) }

// Close ends the server and removes its data.
func (s *PostgresServer) Close() error { return s.process.close() }

func (s *PostgresServer) own() *PostgresServer {
	if s.tb == nil {
		panic("the shared PostgreSQL may not be disturbed: use StartPostgres")
	}
	return s
}

func (s *PostgresServer) fault(err error) {
	s.tb.Helper()
	check(s.tb, err)
}

func (s *PostgresServer) create(programs string, settings []string) error {
	data := filepath.Join(s.process.dir, "data")
	initdb := exec.Command(filepath.Join(programs, "initdb"), "--pgdata", data, "--username", superuser,
		"--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync")
	initdb.Dir = s.process.dir
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: s.process.user}
	if output, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("running initdb: %w\n%s", err, output)
	}
	return withFreePort(func(port int) error {
		s.admin = url.URL{Scheme: "postgres", User: url.User(superuser), Host: address(port), Path: "/postgres"}
		s.args = []string{"-D", data, "-p", fmt.Sprint(port), "-k", s.process.dir}
		// fsync stays on, because durability is among the things under test.
		defaults := []string{"listen_addresses=127.0.0.1", "max_connections=200", "shared_buffers=64MB"}
		for _, setting := range append(defaults, settings...) {
			s.args = append(s.args, "-c", setting)
		}
		return s.start()
	})
}

func (s *PostgresServer) start() error {
	return s.process.start(func() error { return s.execute("select 1") }, s.program, s.args...)
}

func (s *PostgresServer) execute(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	config, err := pgx.ParseConfig(s.admin.String())
	if err != nil {
		return err
	}
	config.ConnectTimeout = connectTimeout
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

// postgresPrograms finds the directory of initdb and postgres: that in PATH, or else the newest of the packages.
func postgresPrograms() (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil && hasInitdb(filepath.Dir(path)) {
		return filepath.Dir(path), nil
	}
	best, bestVersion := "", 0
	for _, pattern := range []string{"/usr/lib/postgresql/%s/bin", "/usr/pgsql-%s/bin"} {
		dirs, err := filepath.Glob(fmt.Sprintf(pattern, "*"))
		if err != nil {
			return "", err
		}
		for _, dir := range dirs {
			var version int
			if _, err := fmt.Sscanf(dir, strings.Replace(pattern, "%s", "%d", 1), &version); err != nil {
				continue
			}
			if version > bestVersion && hasInitdb(dir) {
				best, bestVersion = dir, version
			}
		}
	}
	if best == "" {
		return "", errors.New("the PostgreSQL server is not installed: `make test` says how, " +
			"or type: sudo apt-get install postgresql")
	}
	return best, nil
}

func hasInitdb(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, "initdb"))
	return err == nil && info.Mode().IsRegular()
}
