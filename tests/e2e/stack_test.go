package e2e

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/json"
	"hash/crc32"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"keygate/tests/servers"
)

// trustSecret is what proxy and writer share in these tests.
const trustSecret = "a secret that only the tests know"

// service is a proxy or a writer that runs.
type service struct {
	*process
	addr  string // host:port of its data path
	url   string // the same as a URL
	admin string // the URL of its admin listener
	web   *client
}

// serve starts `PROGRAM serve` on free ports. It does not wait for the program to be ready.
func serve(tb testing.TB, program string, env []string, args ...string) *service {
	tb.Helper()
	return serveAt(tb, program, servers.FreeAddr(tb), env, args...)
}

func serveAt(tb testing.TB, program, addr string, env []string, args ...string) *service {
	tb.Helper()
	admin := servers.FreeAddr(tb)
	args = append([]string{"serve", "--listen", addr, "--admin-listen", admin}, args...)
	return &service{
		process: start(tb, launch{program: program, args: args, env: env}),
		addr:    addr, url: "http://" + addr, admin: "http://" + admin, web: newClient(tb),
	}
}

// ready waits until the service says that requests are welcome.
func (s *service) ready() *service {
	s.tb.Helper()
	eventually(s.tb, s.admin+"/readyz to be 200", func() bool {
		if s.hasEnded() {
			s.tb.Fatalf("%s has ended instead of getting ready", s.cmd.Path)
		}
		got, err := s.web.try(http.MethodGet, s.admin+"/readyz", "")
		return err == nil && got.status == http.StatusOK
	})
	return s
}

// metric adds up the samples of a series whose labels contain all the given texts.
func (s *service) metric(name string, labels ...string) (sum float64) {
	s.tb.Helper()
	got := s.web.get(s.admin + "/metrics")
	for lines := bufio.NewScanner(bytes.NewReader(got.body)); lines.Scan(); {
		sample, value, ok := strings.Cut(lines.Text(), " ")
		series, rest, _ := strings.Cut(sample, "{")
		if !ok || series != name || slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			continue
		}
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			s.tb.Fatalf("%s: %v", lines.Text(), err)
		}
		sum += number
	}
	return sum
}

// sourceQueries is how often the proxy has asked its database for a key.
func (s *service) sourceQueries() int { return int(s.metric("keygate_proxy_source_queries_total")) }

// stack is what proxies and writers stand on: a migrated database and, unless it is a file, a Redis of its own.
type stack struct {
	tb    testing.TB
	url   string // of the database
	redis *servers.RedisServer
	db    *sql.DB
	env   []string
}

func newStack(tb testing.TB) *stack {
	tb.Helper()
	return stackOn(tb, servers.Postgres(tb).Database(tb))
}

func stackOn(tb testing.TB, databaseURL string) *stack {
	tb.Helper()
	s := &stack{tb: tb, url: databaseURL, redis: servers.StartRedis(tb), db: open(tb, databaseURL)}
	s.env = []string{"DATABASE_URL=" + s.url, "REDIS_URL=" + s.redis.URL(), "TRUST_SECRET=" + trustSecret}
	for _, program := range []string{proxyProgram, writerProgram} {
		run(tb, launch{program: program, args: []string{"migrate", "up"}, env: s.env})
	}
	return s
}

// newEdge is the least that a proxy stands on: a migrated file of keys, and no Redis.
func newEdge(tb testing.TB) *stack {
	tb.Helper()
	s := &stack{tb: tb, url: "sqlite:" + filepath.Join(tb.TempDir(), "keys")}
	s.env = []string{"DATABASE_URL=" + s.url, "TRUST_SECRET=" + trustSecret}
	run(tb, launch{program: proxyProgram, args: []string{"migrate", "up"}, env: s.env})
	return s
}

func (s *stack) writer(args ...string) *service {
	s.tb.Helper()
	return serve(s.tb, writerProgram, s.env, args...).ready()
}

// proxy starts one in front of upstream, a URL.
func (s *stack) proxy(upstream string, args ...string) *service {
	s.tb.Helper()
	return serve(s.tb, proxyProgram, s.env, append([]string{"--upstream", upstream}, args...)...).ready()
}

// apiKey is what `keys create --json` prints.
type apiKey struct {
	Key    string `json:"key"`
	Prefix string `json:"prefix"`
	OrgID  string `json:"org_id"`
}

// keys runs `proxy keys …`.
func (s *stack) keys(args ...string) launch {
	return launch{program: proxyProgram, args: append([]string{"keys"}, args...), env: s.env}
}

func (s *stack) createKey(org string) apiKey {
	s.tb.Helper()
	return readKey(s.tb, run(s.tb, s.keys("create", "--org-name", org, "--json")))
}

func readKey(tb testing.TB, text string) (k apiKey) {
	tb.Helper()
	if err := json.Unmarshal([]byte(text), &k); err != nil || k.Prefix == "" || k.OrgID == "" ||
		!strings.HasPrefix(k.Key, k.Prefix+"_") {
		tb.Fatalf("wanted a key, its prefix and its organisation, got %s", text)
	}
	return k
}

// seal completes a key of keygate's own format by its checksum; body is all that stands before.
func seal(body string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum := crc32.ChecksumIEEE([]byte(body))
	text := make([]byte, 6)
	for i := len(text) - 1; i >= 0; i-- {
		text[i] = digits[sum%62]
		sum /= 62
	}
	return body + string(text)
}

// guessed is a well-formed key with somebody's prefix and not their secret.
func guessed(prefix string) string { return seal(prefix + "_" + strings.Repeat("x", 32)) }

// unknownKey is well-formed, and nobody's.
var unknownKey = guessed("zap_live_000000000000")

// redisCommand sends one command, as redis-cli does, and returns the first line of the answer.
func (s *stack) redisCommand(tb testing.TB, words ...string) string {
	tb.Helper()
	w := dial(tb, s.redis.Addr())
	defer w.conn.Close()
	w.send(strings.Join(words, " ") + "\r\n")
	line, err := readLine(w.reader)
	if err != nil || strings.HasPrefix(line, "-") {
		tb.Fatalf("%q: %s, %v", words, line, err)
	}
	return line
}
