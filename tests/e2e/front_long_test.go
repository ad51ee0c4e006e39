//go:build long

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"keygate/tests/servers"
)

// front is a proxy that forwards itself and asks keygate, with the configuration that deploy/examples ships.
type front struct {
	name    string
	shipped string    // below deploy/examples
	patch   [2]string // a text of it, and what a test has in its place
	main    string    // a configuration around the shipped one: what a package of the distribution brings, or a test needs
	args    []string
	drops   []string // names that its API must not see from a client
	absent  int      // its answer while there is no keygate
}

// In what they say, @DIR@ is the directory that they run in, and @SHIPPED@ the file with the addresses of the test.
var fronts = []front{
	{
		name: "nginx", shipped: "nginx/keygate.conf", absent: 503,
		main: `daemon off; master_process off; pid @DIR@/nginx.pid; error_log stderr; events { worker_connections 1024; }
			http {
				access_log off; client_body_temp_path @DIR@/body; proxy_temp_path @DIR@/proxy; fastcgi_temp_path @DIR@/fastcgi;
				uwsgi_temp_path @DIR@/uwsgi; scgi_temp_path @DIR@/scgi;
				include @SHIPPED@;
			}`,
		args:  []string{"-p", "@DIR@", "-e", "stderr", "-c", "@DIR@/main"},
		drops: reservedNames,
	},
	{
		name: "caddy", shipped: "caddy/Caddyfile", absent: 502,
		patch: [2]string{"\n{\n", "\n{\n\tadmin off\n"},
		main:  "import @SHIPPED@\n",
		args:  []string{"run", "--config", "@DIR@/main", "--adapter", "caddyfile"},
		drops: append([]string{"X-Org-Role", "X_Org_Role", "X-Keygate-Anything", "x_keygate-anything"}, reservedNames...),
	},
}

var reservedNames = []string{"X-Org-Id", "x-org-id", "X_Org_Id", "X-Org_Id", "X_Org-Id", "X-Org-Key", "X_ORG_KEY", "X-Org-Signature",
	"X_Org_Signature", "X-Keygate-Id", "X_Keygate_Id", "x_keygate-id", "X_API_Key", "X-API_Key"}

// frontedAPI is an API behind a front, whose keys are in a stack with a proxy in verify mode.
type frontedAPI struct {
	front
	*stack
	*upstream
	proxy *service
	relay *relay // between the front and where the proxy answers
	web   *client

	started []*process // fronts
}

func frontedBy(tb testing.TB, f front, s *stack) *frontedAPI {
	tb.Helper()
	a := &frontedAPI{front: f, stack: s, web: newClient(tb)}
	a.upstream = startUpstream(tb, func(s seen) string {
		if len(s.values("upgrade")) > 0 {
			return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
		}
		return response("200 OK", s.line)
	})
	verify := servers.FreeAddr(tb)
	a.proxy = serve(tb, proxyProgram, s.env, "--verify-listen", verify).ready()
	a.relay = startRelay(tb, verify)
	return a
}

// start runs the front, with what its configuration says of public paths or without, and returns where it listens.
func (a *frontedAPI) start(tb testing.TB, public bool) string {
	tb.Helper()
	program, err := exec.LookPath(a.name)
	if err != nil {
		program = filepath.Join("/usr/sbin", a.name)
	}
	addr, dir := servers.FreeAddr(tb), tb.TempDir()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "examples", a.shipped))
	if err != nil {
		tb.Fatal(err)
	}
	shipped := strings.Replace(string(text), a.patch[0], a.patch[1], 1)
	for written, ours := range map[string]string{"8088": addr, "9180": a.relay.addr, "8000": a.upstream.addr} {
		if !strings.Contains(shipped, written) {
			tb.Fatalf("%s does not name the port %s", a.shipped, written)
		}
		shipped = strings.ReplaceAll(shipped, written, ours[strings.LastIndexByte(ours, ':')+1:])
	}
	if public {
		shipped = strings.ReplaceAll(shipped, "#public: ", "")
	}
	values := strings.NewReplacer("@DIR@", dir, "@SHIPPED@", filepath.Join(dir, "shipped"))
	for name, content := range map[string]string{"shipped": shipped, "main": values.Replace(a.main)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	args := make([]string, len(a.args))
	for i, arg := range a.args {
		args[i] = values.Replace(arg)
	}
	p := start(tb, launch{program: program, args: args, dir: dir})
	a.started = append(a.started, p)
	eventually(tb, a.name+" to answer", func() bool {
		if p.hasEnded() {
			tb.Fatalf("%s has ended", a.name)
		}
		_, err := a.web.try(http.MethodGet, "http://"+addr+"/", "")
		return err == nil
	})
	a.all() // of what came so far
	return addr
}

// becomes waits until requests with a key are answered so.
func (a *frontedAPI) becomes(tb testing.TB, addr string, key apiKey, status int) {
	tb.Helper()
	took := within(tb, patience, fmt.Sprintf("a key to be answered %d", status), func() bool {
		return a.web.get("http://"+addr+"/", "X-API-Key", key.Key).status == status
	})
	tb.Logf("%s: %d after %v", a.name, status, took)
	a.all()
}

// sends writes a request and checks that the API has seen it whole, and who sends it by one line of each name.
func (a *frontedAPI) sends(tb testing.TB, addr string, key apiKey, text string) seen {
	tb.Helper()
	w := dial(tb, addr)
	w.send(text)
	method, _, _ := strings.Cut(text, " ")
	if got := w.receive(method); got.status != http.StatusOK {
		tb.Fatalf("%s: %.300q is answered %v", a.name, text, got)
	}
	got := a.one(tb)
	for name, want := range map[string]string{"x-org-id": key.OrgID, "x-org-key": key.Prefix} {
		if values := got.values(name); len(values) != 1 || values[0] != want {
			tb.Errorf("%s: the API sees %s %q instead of %s", a.name, name, values, want)
		}
	}
	if ids := got.values("x-keygate-id"); len(ids) != 1 || len(ids[0]) != 36 {
		tb.Errorf("%s: the API sees X-Keygate-Id %q", a.name, ids)
	}
	if all := fmt.Sprintf("%q", got); strings.Contains(all, "evil") || strings.Contains(all, key.Key) {
		tb.Errorf("%s: of %.300q the API sees %s", a.name, text, all)
	}
	return got
}

// relay passes connections on and counts them.
type relay struct {
	addr     string
	accepted atomic.Int32

	listener net.Listener
	group    sync.WaitGroup

	mu   sync.Mutex
	open []net.Conn
}

func startRelay(tb testing.TB, to string) *relay {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	r := &relay{addr: listener.Addr().String(), listener: listener}
	r.group.Go(func() { r.accept(to) })
	tb.Cleanup(r.close)
	return r
}

func (r *relay) accept(to string) {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.accepted.Add(1)
		far, err := net.Dial("tcp", to)
		if err != nil {
			_ = near.Close()
			continue
		}
		r.mu.Lock()
		r.open = append(r.open, near, far)
		r.mu.Unlock()
		r.group.Go(func() { pass(near, far) })
		r.group.Go(func() { pass(far, near) })
	}
}

func pass(from, to net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.(*net.TCPConn).CloseWrite()
}

func (r *relay) close() {
	_ = r.listener.Close()
	r.mu.Lock()
	for _, conn := range r.open {
		_ = conn.Close()
	}
	r.mu.Unlock()
	r.group.Wait()
}
