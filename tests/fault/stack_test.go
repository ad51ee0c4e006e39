package fault

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	"keygate/tests/link"
)

// organizations is how many the events of a test belong to.
const organizations = 3

// stack is a proxy in front of a writer, with a link between them, over a database.
type stack struct {
	tb     testing.TB
	url    string     // of the database
	wire   *link.Link // from the proxy to the writer
	writer *program
	proxy  *program
	keys   []apiKey // of one organisation each
}

// apiKey is what `keys create --json` prints.
type apiKey struct {
	Key    string `json:"key"`
	Prefix string `json:"prefix"`
	OrgID  string `json:"org_id"`
}

// newStack starts everything over a database. The writer reaches it by its own URL, which may lead over a link.
func newStack(tb testing.TB, databaseURL, writersURL string, writerArgs ...string) *stack {
	tb.Helper()
	s := &stack{tb: tb, url: databaseURL}
	env := []string{"DATABASE_URL=" + databaseURL, "TRUST_SECRET=a secret that only the tests know"}
	command(tb, env, "proxy", "migrate", "up")
	command(tb, env, "writer", "migrate", "up")
	for n := range organizations {
		var key apiKey
		text := command(tb, env, "proxy", "keys", "create", "--json", "--org-name", fmt.Sprint("org ", n))
		if err := json.Unmarshal(text, &key); err != nil || key.Key == "" {
			tb.Fatalf("keys create says %s", text)
		}
		s.keys = append(s.keys, key)
	}
	s.writer = newProgram(tb, "writer", append([]string{"DATABASE_URL=" + writersURL}, env[1:]...), writerArgs...)
	s.wire = link.Start(tb, s.writer.addr, everyChunk)
	s.proxy = newProgram(tb, "proxy", env, "--upstream", "http://"+s.wire.Addr(), "--upstream-idempotent", "/")
	s.writer.start()
	s.proxy.start()
	s.writer.ready()
	s.proxy.ready()
	return s
}

// command runs a program to its end, which is to be 0, and returns what it prints.
func command(tb testing.TB, env []string, name string, args ...string) []byte {
	tb.Helper()
	cmd := exec.Command(binary(tb, name), args...)
	cmd.Env, cmd.Dir = env, tb.TempDir()
	output, err := cmd.Output()
	if err != nil {
		tb.Fatalf("%s %q: %v\n%s", name, args, err, output)
	}
	return output
}

// readyForQuery is the end of an answer of PostgreSQL outside of a transaction: what it answers is committed.
func readyForQuery(chunk []byte) bool { return bytes.HasSuffix(chunk, []byte("Z\x00\x00\x00\x05I")) }

// everyChunk will do for answers of Redis and of the writer, which are short.
func everyChunk([]byte) bool { return true }

// connect opens the database of a URL as DATABASE_URL takes it, on one connection.
func connect(tb testing.TB, databaseURL string) *sql.DB {
	tb.Helper()
	driver, name := "pgx", databaseURL
	if path, ok := strings.CutPrefix(databaseURL, "sqlite:"); ok {
		driver, name = "sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		tb.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	return db
}

// ask opens the database anew, because the last connection may not have survived, and returns a number.
func ask(tb testing.TB, databaseURL, question string) (n int) {
	tb.Helper()
	db := connect(tb, databaseURL)
	defer db.Close()
	if err := db.QueryRowContext(tb.Context(), question).Scan(&n); err != nil {
		tb.Fatalf("%s: %v", question, err)
	}
	return n
}

// read asks for a text.
func read(tb testing.TB, databaseURL, question string) (text string) {
	tb.Helper()
	db := connect(tb, databaseURL)
	defer db.Close()
	if err := db.QueryRowContext(tb.Context(), question).Scan(&text); err != nil {
		tb.Fatal(err)
	}
	return text
}

// ownerOf is who runs the server of a directory, as root may become them; nil if we are not root.
func ownerOf(tb testing.TB, dir string) *syscall.Credential {
	tb.Helper()
	info, err := os.Stat(dir)
	if err != nil {
		tb.Fatal(err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}
}

func execute(tb testing.TB, databaseURL, statement string) {
	tb.Helper()
	db := connect(tb, databaseURL)
	defer db.Close()
	if _, err := db.ExecContext(tb.Context(), statement); err != nil {
		tb.Fatalf("%s: %v", statement, err)
	}
}

// lock keeps every insert waiting until it is released.
func (s *stack) lock() (release func()) {
	s.tb.Helper()
	db := connect(s.tb, s.url)
	tx, err := db.BeginTx(s.tb.Context(), nil)
	if err == nil {
		_, err = tx.Exec("lock table events in exclusive mode")
	}
	if err != nil {
		s.tb.Fatal(err)
	}
	return func() {
		_ = tx.Rollback()
		_ = db.Close()
	}
}

// sendAtOnce sends n events, each by a client of its own, and returns how to wait for their answers.
func (s *stack) sendAtOnce(n int, body func(i int) string) (wait func() []result) {
	transport := &http.Transport{MaxIdleConnsPerHost: n}
	l := &load{edge: "http://" + s.proxy.addr, web: &http.Client{Transport: transport, Timeout: patience}}
	results := make([]result, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { results[i] = l.post("", s.keys[0].Key, body(i), 1)[0] })
	}
	return func() []result {
		group.Wait()
		transport.CloseIdleConnections()
		return results
	}
}

func (s *stack) awaitQueue(n int) {
	s.tb.Helper()
	eventually(s.tb, "events to wait in the writer", func() bool { return s.writer.queued() >= n })
}
