package servers_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"keygate/tests/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func execute(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func count(t *testing.T, conn *pgx.Conn, query string) (n int) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func TestDatabasesAreSeparateAndGoneAfterTheTest(t *testing.T) {
	t.Parallel()
	var first, second string
	t.Run("inner", func(t *testing.T) {
		first, second = servers.Postgres(t).Database(t), servers.Postgres(t).Database(t)
		execute(t, connect(t, first), "create table only_here (id int)")
		if n := count(t, connect(t, second), "select count(*) from pg_tables where tablename = 'only_here'"); n != 0 {
			t.Error("the second database shows a table of the first")
		}
	})
	for _, url := range []string{first, second} {
		if conn, err := pgx.Connect(t.Context(), url); err == nil {
			_ = conn.Close(t.Context())
			t.Errorf("%s still exists", url)
		}
	}
}

func TestPostgresKeepsCommittedRowsThroughStopAndKill(t *testing.T) {
	t.Parallel()
	server := servers.StartPostgres(t, "log_connections=on")
	url := server.Database(t)
	conn := connect(t, url)
	execute(t, conn, "create table rows (id int); insert into rows values (1)")
	server.Stop()
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("a connection outlived Stop")
	}
	server.Start()
	conn = connect(t, url)
	execute(t, conn, "insert into rows values (2)")
	server.Kill()
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("a connection outlived Kill")
	}
	server.Start()
	if n := count(t, connect(t, url), "select count(*) from rows"); n != 2 {
		t.Errorf("%d rows are left of 2", n)
	}
}

func TestPausedPostgresAnswersNothingUntilContinued(t *testing.T) {
	t.Parallel()
	server := servers.StartPostgres(t)
	conn := connect(t, server.URL("postgres"))
	server.Pause()
	answered := make(chan error, 1)
	go func() { answered <- conn.Ping(context.Background()) }()
	select {
	case err := <-answered:
		t.Errorf("a paused server answered: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	server.Continue()
	if err := <-answered; err != nil {
		t.Errorf("after Continue: %v", err)
	}
}

func TestRedisStopsIsKilledAndStartsAgainOnItsPort(t *testing.T) {
	t.Parallel()
	server := servers.StartRedis(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	defer client.Close()
	for _, end := range []func(){server.Stop, server.Kill} {
		if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
			t.Fatal(err)
		}
		end()
		if err := client.Ping(t.Context()).Err(); err == nil {
			t.Error("a stopped server answered")
		}
		server.Start()
		if n, err := client.Exists(t.Context(), "key").Result(); err != nil || n != 0 {
			t.Errorf("a new server without persistence has %d keys, error %v", n, err)
		}
	}
}

func TestPausedRedisAnswersNothingUntilContinued(t *testing.T) {
	t.Parallel()
	server := servers.StartRedis(t)
	conn, err := net.Dial("tcp", server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	server.Pause()
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 16)
	_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := conn.Read(answer); err == nil {
		t.Errorf("a paused server answered %q", answer[:n])
	}
	server.Continue()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := conn.Read(answer); err != nil || string(answer[:n]) != "+PONG\r\n" {
		t.Errorf("after Continue: %q, %v", answer[:n], err)
	}
}

func TestSharedRedisIsOneForAllTests(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t)
	if again := servers.Redis(t); again != server {
		t.Errorf("there are two, at %s and %s", server.Addr(), again.Addr())
	}
	options, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}

// The test runs itself as a child that starts servers and is killed: nothing gives that child a chance to clean up.
func TestServersAndTheirDataDoNotOutliveAKilledTestProcess(t *testing.T) {
	t.Parallel()
	if os.Getenv("KEYGATE_TEST_CHILD") != "" {
		postgres, cache := servers.StartPostgres(t), servers.StartRedis(t)
		postgres.Pause()
		cache.Pause()
		os.Stdout.WriteString("started\n")
		select {}
	}
	temp := openTempDir(t)
	child := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	child.Env = append(os.Environ(), "KEYGATE_TEST_CHILD=1", "TMPDIR="+temp)
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 64)
	n, err := output.Read(line)
	if err != nil || !strings.HasPrefix(string(line[:n]), "started") {
		t.Errorf("the child says %q, %v", line[:n], err)
	}
	if found := entries(t, temp); len(found) != 2 {
		t.Errorf("while the child runs there are %q", found)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	eventually(t, "the directories to be removed", func() bool { return len(entries(t, temp)) == 0 })
}

func openTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "servers-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "keygate-*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}
