//go:build long

package fault

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"keygate/tests/servers"
)

// A standby is a copy of a server that follows it.
type standby struct {
	tb      testing.TB
	dir     string
	addr    string
	account *syscall.SysProcAttr
}

// newStandby copies a server and follows it synchronously: from now on it confirms no commit that the standby has not.
// The settings of that are the first server's alone, so that the standby, once promoted, waits for nobody.
func newStandby(tb testing.TB, primary string) *standby {
	tb.Helper()
	s := &standby{tb: tb, addr: servers.FreeAddr(tb), account: dieWithUs()}
	if s.account == nil {
		s.account = new(syscall.SysProcAttr)
	}
	original := read(tb, primary, "select current_setting('data_directory')")
	programs := read(tb, primary, "select setting from pg_config where name = 'BINDIR'")
	s.account.Credential = ownerOf(tb, original)
	beside := filepath.Dir(filepath.Dir(original)) // where the owner can reach it
	var err error
	if s.dir, err = os.MkdirTemp(beside, "keygate-standby-"); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(s.dir) })
	if owner := s.account.Credential; owner != nil {
		if err := os.Chown(s.dir, int(owner.Uid), int(owner.Gid)); err != nil {
			tb.Fatal(err)
		}
	}
	data := filepath.Join(s.dir, "data")
	s.run(filepath.Join(programs, "pg_basebackup"), "--dbname", primary, "--pgdata", data,
		"--write-recovery-conf", "--checkpoint", "fast", "--no-sync")
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		tb.Fatal(err)
	}
	s.follow(filepath.Join(programs, "postgres"), "-D", data, "-p", port, "-k", s.dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200")
	execute(tb, primary, "alter system set synchronous_standby_names = '*'")
	execute(tb, primary, "select pg_reload_conf()")
	eventually(tb, "the standby to be synchronous", func() bool {
		return ask(tb, primary, "select count(*) from pg_stat_replication where sync_state = 'sync'") == 1
	})
	return s
}

func (s *standby) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.SysProcAttr = s.dir, s.account
	return cmd
}

func (s *standby) run(name string, args ...string) {
	s.tb.Helper()
	if output, err := s.command(name, args...).CombinedOutput(); err != nil {
		s.tb.Fatalf("%s: %v\n%s", name, err, output)
	}
}

// follow starts the server. It is gone when the test ends.
func (s *standby) follow(name string, args ...string) {
	s.tb.Helper()
	log := new(tail)
	cmd := s.command(name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGQUIT) // it may have ended
		_ = cmd.Wait()
		if s.tb.Failed() {
			s.tb.Logf("the end of what the standby said:\n%s", log)
		}
	})
}

func TestAFailOverToASynchronousStandbyLosesNothing(t *testing.T) {
	var killed record
	for n := range 5 {
		t.Run(fmt.Sprint("killed ", n), func(t *testing.T) { failOver(t, (*servers.PostgresServer).Kill, &killed) })
	}
	// Nobody hears of the end of a server that hangs: the writer gives it up by its own limits.
	var frozen record
	t.Run("frozen", func(t *testing.T) { failOver(t, (*servers.PostgresServer).Pause, &frozen) })
	t.Logf("killed: request: %s; silence: %s", spread(killed.requests), spread(killed.gaps))
	t.Logf("frozen: request: %s; silence: %s", spread(frozen.requests), spread(frozen.gaps))
}

func failOver(t *testing.T, fail func(*servers.PostgresServer), r *record) {
	seed := newSeed(t)
	primary := servers.StartPostgres(t)
	first := primary.Database(t)
	follower := newStandby(t, first)
	host := hostOf(t, first)
	second := strings.Replace(first, host, follower.addr, 1)
	s := newStack(t, first, strings.Replace(first, host, host+","+follower.addr, 1))
	l := s.newLoad(seed, faultClients)
	l.reaches(t, 200+source(seed, -1).IntN(200))
	l.stalls()
	fail(primary)
	began := time.Now()
	if ask(t, second, "select pg_promote()::int") != 1 {
		t.Fatal("the standby was not promoted")
	}
	promotion := time.Since(began)
	l.reaches(t, 100)
	request, gap := l.stalls()
	r.requests, r.gaps = append(r.requests, request), append(r.gaps, gap)
	l.end()
	s.writer.stop()
	v := judge(t, second, l.book)
	t.Logf("promoted in %v; longest request %v, longest silence %v; %+v; %s", promotion, request, gap, v, show(l.answers()))
	for code := range l.answers() {
		if code != accepted && code != duplicate && code != "dedup_conflict" {
			t.Errorf("clients were answered %s", code)
		}
	}
}

func hostOf(tb testing.TB, databaseURL string) string {
	tb.Helper()
	parsed, err := url.Parse(databaseURL)
	if err != nil {
		tb.Fatal(err)
	}
	return parsed.Host
}
