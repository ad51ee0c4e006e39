package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"keygate/shared/uuid7"
	"keygate/tests/servers"
)

// standalone is both programs in one process.
type standalone struct {
	*process
	dir                     string
	proxy, writer           string // host:port
	proxyAdmin, writerAdmin string
	env                     []string
}

// newStandalone moves the four listeners to free ports, because whoever runs these tests may use the default ones. All
// else is as without any configuration.
func newStandalone(tb testing.TB, dir string, env ...string) *standalone {
	tb.Helper()
	s := &standalone{
		dir: dir, proxy: servers.FreeAddr(tb), writer: servers.FreeAddr(tb),
		proxyAdmin: servers.FreeAddr(tb), writerAdmin: servers.FreeAddr(tb),
	}
	s.env = append(env, "PROXY_LISTEN="+s.proxy, "WRITER_LISTEN="+s.writer,
		"PROXY_ADMIN_LISTEN="+s.proxyAdmin, "WRITER_ADMIN_LISTEN="+s.writerAdmin)
	return s
}

func (s *standalone) launch(args ...string) launch {
	return launch{program: standaloneProgram, dir: s.dir, env: s.env, args: args}
}

// start returns once both halves are ready.
func (s *standalone) start(tb testing.TB) *standalone {
	tb.Helper()
	s.process = start(tb, s.launch())
	for addr, admin := range map[string]string{s.proxy: s.proxyAdmin, s.writer: s.writerAdmin} {
		(&service{process: s.process, addr: addr, admin: "http://" + admin, web: newClient(tb)}).ready()
	}
	return s
}

// curl returns the command line that standalone has printed for people to paste.
func (s *standalone) curl(tb testing.TB) string {
	tb.Helper()
	var line string
	eventually(tb, "a curl line", func() bool {
		text := strings.ReplaceAll(s.stdout.String(), "\\\n", " ")
		for line = range strings.Lines(text) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "curl ") {
				return true
			}
		}
		return false
	})
	return line
}

var keyPattern = regexp.MustCompile(`zap_live_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}`)

// paste does what somebody does who reads the output, and returns the status and the last line of the answer.
func paste(tb testing.TB, line string) (status, body string) {
	tb.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		tb.Fatal("curl is not installed: sudo apt-get install curl")
	}
	output, err := exec.Command("sh", "-c", line+` --silent --show-error --write-out '\n%{http_code}'`).Output()
	if err != nil {
		tb.Fatalf("%s: %v", line, err)
	}
	lines := strings.FieldsFunc(string(output), func(r rune) bool { return r == '\n' || r == '\r' })
	if len(lines) < 2 {
		tb.Fatalf("%s prints %q", line, output)
	}
	return lines[len(lines)-1], lines[len(lines)-2]
}

func TestStandaloneNeedsNoConfigurationAndSurvivesARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newStandalone(t, dir).start(t)
	line, key := s.curl(t), keyPattern.FindString(s.stdout.String())
	if key == "" || seal(key[:len(key)-6]) != key {
		t.Fatalf("no key is printed whose checksum is right: %q", key)
	}
	for _, addr := range []string{s.proxy, s.proxyAdmin, s.writerAdmin} {
		if !strings.Contains(s.output(), addr) {
			t.Errorf("the address %s is not printed", addr)
		}
	}
	checkPastedLine(t, dir, line, 1)
	s.stop(syscall.SIGINT)

	s.start(t)
	if again := keyPattern.FindString(s.stdout.String()); again != key {
		t.Errorf("after a restart the key is %q, before it was %q", again, key)
	}
	if again := s.curl(t); again != line {
		t.Errorf("after a restart the line is %s", again)
	}
	checkPastedLine(t, dir, line, 2)
	if text, err := os.ReadFile(filepath.Join(dir, "data", "demo-key")); strings.TrimSpace(string(text)) != key {
		t.Errorf("demo-key holds %q, %v", text, err)
	}
	for _, secret := range []string{"demo-key", "trust-secret"} {
		if info, err := os.Stat(filepath.Join(dir, "data", secret)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v; wanted -rw-------", secret, info, err)
		}
	}
	s.stop(syscall.SIGTERM)
}

// checkPastedLine sends the event of the curl line, and finds it as the n-th in the file.
func checkPastedLine(t *testing.T, dir, line string, n int) {
	t.Helper()
	status, body := paste(t, line)
	if status != "201" {
		t.Fatalf("%s answers %s %s", line, status, body)
	}
	got := answer{status: 201, body: []byte(body)}.wants(t, 201, "accepted")
	id, err := uuid7.Parse([]byte(got.ID))
	if err != nil || !id.Time().Equal(got.CreatedAt) {
		t.Errorf("created_at is %v, the id %s says %v, %v", got.CreatedAt, got.ID, id.Time(), err)
	}
	db := open(t, "sqlite:"+sqliteFile(t, filepath.Join(dir, "data")))
	if stored := events(t, db); stored != n {
		t.Errorf("%d events are stored, not %d", stored, n)
	}
	const pending = "select count(*) from event_deliveries where id = $1 and status = 'pending' and attempts = 0"
	if count(t, db, "select count(*) from events where id = $1", got.ID) != 1 || count(t, db, pending, got.ID) != 1 {
		t.Errorf("the event %s has not its two rows", got.ID)
	}
}

// sqliteFile finds the one database in a directory.
func sqliteFile(tb testing.TB, dir string) string {
	tb.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		tb.Fatal(err)
	}
	found = slices.DeleteFunc(found, func(path string) bool {
		text, err := os.ReadFile(path)
		return err != nil || !strings.HasPrefix(string(text), "SQLite format 3\x00")
	})
	if len(found) != 1 {
		tb.Fatalf("%s holds %d SQLite files, not one: %q", dir, len(found), found)
	}
	return found[0]
}

func TestStandaloneSaysInOneLineWhyItDoesNotStart(t *testing.T) {
	t.Parallel()
	closed := servers.FreeAddr(t)
	occupied, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer occupied.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(want string, env []string, args ...string) {
		t.Helper()
		s := newStandalone(t, t.TempDir(), env...)
		if line := runFailing(t, s.launch(args...)); !strings.Contains(line, want) {
			t.Errorf("%q %q: the line does not name %s: %s", env, args, want, line)
		}
	}
	for _, flag := range []string{"proxy-listen", "proxy-admin-listen", "writer-listen", "writer-admin-listen"} {
		f(occupied.Addr().String(), nil, "--"+flag, occupied.Addr().String())
	}
	// A directory that even root cannot make.
	f(file, nil, "--data-dir", filepath.Join(file, "data"))
	f(closed, []string{"DATABASE_URL=postgres://keygate@" + closed + "/keygate"})
	f(closed, []string{"REDIS_URL=redis://" + closed + "/0"})
	f("migrate up", []string{"DATABASE_URL=" + servers.Postgres(t).Database(t)})
	f("data", nil, "surplus data")
}

func TestStandaloneOnRealServersStoresThere(t *testing.T) {
	t.Parallel()
	under := newStack(t)
	s := newStandalone(t, t.TempDir(), "DATABASE_URL="+under.url, "REDIS_URL="+under.redis.URL()).start(t)
	key := readKey(t, run(t, s.launch("keys", "create", "--org-name", "acme", "--json")))
	web := newClient(t)
	got := web.post("http://"+s.proxy, key.Key, anEvent).wants(t, 201, "accepted")
	if count(t, under.db, "select count(*) from events where id = $1 and org_id = $2", got.ID, key.OrgID) != 1 ||
		events(t, under.db) != 1 {
		t.Error("the event is not in Postgres")
	}
	proxy := &service{process: s.process, admin: "http://" + s.proxyAdmin, web: web}
	if n := proxy.metric("keygate_proxy_upstream_connections"); n != 0 {
		t.Errorf("the event went to the writer over one of %v connections", n)
	}
	eventually(t, "the record in Redis", func() bool { // the change that announced the key may just have removed it
		web.get("http://"+s.proxy+"/v1/events", "X-API-Key", key.Key)
		return under.redisCommand(t, "EXISTS", "org:prefix:"+key.Prefix) == ":1"
	})
	if found, _ := filepath.Glob(filepath.Join(s.dir, "data", "*.db")); len(found) != 0 {
		t.Errorf("beside Postgres there are %q", found)
	}
	s.stop(syscall.SIGTERM)
}

// Whatever is asked, the answer of both programs in one process is that of the two, but for times, ids and who was asked.
func TestStandaloneAnswersAsItsPartsDo(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	apart, whole := s.proxy(s.writer().url).addr, newStandalone(t, t.TempDir(), s.env...).start(t).proxy
	keys := map[string]string{apart: s.createKey("apart").Key, whole: s.createKey("whole").Key}
	const dedup = `{"type":"a","dedup_id":"d","payload":{"n":1}}`
	long := `{"type":"a","payload":{"x":"` + strings.Repeat("y", 100_000) + `"}}`
	for _, text := range []string{
		event(anEvent), event(dedup), event(dedup), event(strings.Replace(dedup, "1", "2", 1)),
		event(anEvent, "Idempotency-Key: k"), event(anEvent, "Idempotency-Key: k"), event("{"), event(long),
		event(anEvent, "Expect: 100-continue"), event(anEvent, "Connection: close"), event(anEvent, "X-Request-Id: mine"),
		strings.Replace(event(anEvent, "Connection: keep-alive"), "HTTP/1.1", "HTTP/1.0", 1),
		request("POST", "/v1/events/batch", "["+anEvent+","+dedup+",{}]", "Content-Type: application/json"),
		request("POST", "/v1/events/batch", anEvent+"\n"+anEvent+"\n", "Content-Type: application/x-ndjson"),
		chunked("POST", "/v1/events", []string{"Content-Type: application/json"}, []string{anEvent[:5], anEvent[5:]}, nil),
		request("HEAD", "/v1/events", ""), request("OPTIONS", "/v1/events", ""), request("PATCH", "/v1/events", anEvent),
		request("GET", "/nothing", ""), event(anEvent, "Content-Encoding: gzip"), event(anEvent, "X-Org-Id: other"),
	} {
		answers := map[string]string{}
		for addr, key := range keys {
			w := dial(t, addr)
			w.send(strings.Replace(text, "\r\n", "\r\nX-API-Key: "+key+"\r\n", 1))
			method, _, _ := strings.Cut(text, " ")
			answers[addr] = anonymous(w.receive(method))
		}
		if answers[whole] != answers[apart] {
			t.Errorf("%.200q: answered %s, by the two programs %s", text, answers[whole], answers[apart])
		}
	}
}

var passing = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[0-9:.]+Z`)

// anonymous is an answer without what differs from one to the next.
func anonymous(a answer) string {
	if a.header.Get("Date") != "" {
		a.header.Set("Date", "some day")
	}
	return fmt.Sprint(a.status, a.header, passing.ReplaceAllString(string(a.body), "…"))
}

func TestStandaloneHelpNamesWhatItListensOn(t *testing.T) {
	t.Parallel()
	help := run(t, launch{program: standaloneProgram, args: []string{"--help"}})
	for flag, byDefault := range map[string]string{
		"proxy-listen": ":8080", "proxy-admin-listen": "127.0.0.1:9080",
		"writer-admin-listen": "127.0.0.1:9081", "data-dir": "./data",
	} {
		pattern := fmt.Sprintf(`--%s .*\(default "?%s"?\)`, flag, regexp.QuoteMeta(byDefault))
		if !regexp.MustCompile(pattern).MatchString(help) {
			t.Errorf("the help does not say that --%s is %s", flag, byDefault)
		}
	}
}
