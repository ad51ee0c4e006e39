package servers

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// PgBouncer is one PgBouncer in transaction mode. Kill and Start are for the goroutine of the test that started it.
type PgBouncer struct {
	tb      testing.TB
	process *process
	program string
	addr    string
}

// StartPgBouncer starts a pooler before the server of a database URL, which gives a transaction any of its few sessions.
// Further settings are name=value. It is gone when the test ends.
func StartPgBouncer(tb testing.TB, databaseURL string, settings ...string) *PgBouncer {
	tb.Helper()
	target, err := url.Parse(databaseURL)
	check(tb, err)
	account, err := postgresAccount() // it refuses to run as root, too
	check(tb, err)
	b := &PgBouncer{tb: tb}
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			b.program = path
		}
	}
	if b.program == "" {
		tb.Fatal("pgbouncer is not installed: `make test-all` says how, or type: sudo apt-get install pgbouncer")
	}
	b.process, err = newProcess("pgbouncer", "KILL", account)
	check(tb, err)
	tb.Cleanup(func() {
		if err := b.process.close(); err != nil {
			tb.Error(err)
		}
	})
	check(tb, withFreePort(func(port int) error {
		b.addr = address(port)
		// With auth_type=any all are one user at the server.
		text := fmt.Sprintf("[databases]\n* = host=%s port=%s user=%s\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port=%d\n"+
			"unix_socket_dir=\nauth_type=any\npool_mode=transaction\ndefault_pool_size=3\n%s\n",
			target.Hostname(), target.Port(), superuser, port, strings.Join(settings, "\n"))
		if err := os.WriteFile(b.config(), []byte(text), 0o644); err != nil {
			return err
		}
		return b.start()
	}))
	return b
}

func (b *PgBouncer) config() string { return filepath.Join(b.process.dir, "pgbouncer.ini") }

// Addr returns host:port.
func (b *PgBouncer) Addr() string { return b.addr }

// Kill ends the pooler, and with it all connections through it.
func (b *PgBouncer) Kill() { b.tb.Helper(); check(b.tb, b.process.kill()) }

// Start starts the pooler again after Kill, on the same port.
func (b *PgBouncer) Start() { b.tb.Helper(); check(b.tb, b.start()) }

func (b *PgBouncer) start() error {
	return b.process.start(func() error {
		conn, err := net.DialTimeout("tcp4", b.addr, connectTimeout)
		if err != nil {
			return err
		}
		return conn.Close()
	}, b.program, b.config())
}
