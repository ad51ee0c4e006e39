package fastpath_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"keygate/proxy/auth"
	"keygate/proxy/fastpath"
	"keygate/proxy/forward"
	"keygate/proxy/identity"
	"keygate/proxy/server"
	"keygate/proxy/upstream"
	"keygate/shared/serving"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"), // sleeps on after Shutdown
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// patience bounds every wait; only failing tests take that long.
const patience = 20 * time.Second

// known allows keys that end in "good". It remembers all but those that begin with "cold" from the first time on that it
// was asked; about those it waits, once it has told that it was asked, until it is told to go on.
type known struct {
	reached, goOn chan struct{}

	mu    sync.Mutex
	asked int
}

func (k *known) decide(key []byte) auth.Decision {
	if !strings.HasSuffix(string(key), "good") {
		return auth.Decision{Reason: auth.NoSuchKey}
	}
	return auth.Decision{Reason: auth.Allowed, Principal: auth.Principal{OrgID: "org-1", Prefix: key}}
}

func isCold(key []byte) bool { return strings.HasPrefix(string(key), "cold") }

func (k *known) Resolve(_ context.Context, key []byte, _ netip.Addr) auth.Decision {
	k.mu.Lock()
	k.asked++
	k.mu.Unlock()
	if isCold(key) {
		k.reached <- struct{}{}
		<-k.goOn
	}
	return k.decide(key)
}

func (k *known) Ask(key []byte, from netip.Addr, tell func(auth.Decision)) {
	go func() { tell(k.Resolve(context.Background(), key, from)) }()
}

func (k *known) Recall(key []byte, _ time.Time) (auth.Decision, bool) {
	return k.decide(key), k.timesAsked() > 0 && !isCold(key)
}

func (k *known) timesAsked() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked
}

// api is an upstream that does as it is told, and remembers what it is sent.
type api struct {
	net.Listener
	serve func(c net.Conn, head string)

	mu    sync.Mutex
	conns []net.Conn
	count int      // of connections
	sent  []string // heads and bodies
	all   sync.WaitGroup
}

// newAPI starts an upstream that calls serve with each request.
func newAPI(tb testing.TB, serve func(c net.Conn, head string)) *api {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	a := &api{Listener: ln, serve: serve}
	a.all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			a.mu.Lock()
			a.conns, a.count = append(a.conns, c), a.count+1
			a.mu.Unlock()
			a.all.Go(func() { a.converse(c) })
		}
	})
	tb.Cleanup(func() {
		ln.Close()
		a.hangUp()
		a.all.Wait()
	})
	return a
}

// hangUp closes all connections.
func (a *api) hangUp() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.conns {
		c.Close()
	}
	a.conns = nil
}

func (a *api) converse(c net.Conn) {
	defer c.Close()
	reader := bufio.NewReader(c)
	for {
		var head strings.Builder
		for line := ""; line != "\r\n"; {
			var err error
			if line, err = reader.ReadString('\n'); err != nil {
				return
			}
			head.WriteString(line)
		}
		request, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(head.String()), reader)))
		if err != nil {
			return
		}
		body, err := io.ReadAll(io.LimitReader(reader, max(request.ContentLength, 0)))
		if err != nil {
			return
		}
		a.mu.Lock()
		a.sent = append(a.sent, head.String()+string(body))
		a.mu.Unlock()
		a.serve(c, head.String())
	}
}

func (a *api) opened() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count
}

func (a *api) seen() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.sent...)
}

// saying answers every request alike, but those that warm up.
func saying(text string) func(net.Conn, string) {
	return onceWarm(func(c net.Conn) { _, _ = io.WriteString(c, text) })
}

// onceWarm answers what warms up well, and leaves the rest to serve.
func onceWarm(serve func(c net.Conn)) func(net.Conn, string) {
	return func(c net.Conn, head string) {
		if strings.Contains(head, "/warm") {
			_, _ = io.WriteString(c, created)
			return
		}
		serve(c)
	}
}

// holding answers well, but waits with requests for /slow: it tells that one has come, and goes on when it is told to.
func holding() (serve func(net.Conn, string), reached, goOn chan struct{}) {
	reached, goOn = make(chan struct{}), make(chan struct{})
	return func(c net.Conn, head string) {
		if strings.Contains(head, "/slow") {
			reached <- struct{}{}
			<-goOn
		}
		_, _ = io.WriteString(c, created)
	}, reached, goOn
}

const created = "HTTP/1.1 201 Created\r\nX-From: api\r\nContent-Length: 2\r\n\r\nok"

// edge is a proxy, with the fast path unless Config.Fast is taken away.
type edge struct {
	tb       testing.TB
	registry *prometheus.Registry
	auth     *known
	server   *server.Server
	stop     func() // and wait until everything has ended
}

func newEdge(tb testing.TB, a *api, change ...func(*server.Config)) *edge {
	tb.Helper()
	e := &edge{tb: tb, registry: prometheus.NewRegistry(), auth: &known{reached: make(chan struct{}), goOn: make(chan struct{})}}
	set, err := upstream.New(upstream.Config{
		Upstreams: []string{"http://" + a.Addr().String()}, Registerer: e.registry, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	cfg := server.Config{
		Address: "127.0.0.1:0", Auth: e.auth, Public: []string{"/open"}, MaxBody: 100_000,
		Policy: identity.New(identity.Policy{OrgHeader: "X-Org-Id", Carriers: identity.Bearer | identity.XAPIKey}),
		Logger: slog.New(slog.DiscardHandler), Metrics: serving.NewMetrics(e.registry, "proxy"),
		HeaderTimeout: patience, IdleTimeout: patience,
		Fast: server.Fast{Auth: e.auth, ResponseTimeout: patience, Metrics: fastpath.NewMetrics(e.registry)},
	}
	for _, c := range change {
		c(&cfg)
	}
	f := forward.New(forward.Config{
		Upstreams: set, Registerer: e.registry, Idempotent: []string{"/twice"}, MaxBody: cfg.MaxBody,
		ResponseTimeout: cfg.Fast.ResponseTimeout, IdleTimeout: cfg.IdleTimeout,
	})
	cfg.Forward = f
	if cfg.Fast.Auth != nil {
		cfg.Fast.Upstreams = f
	} else {
		cfg.Fast = server.Fast{}
	}
	e.server = server.New(cfg)
	if err := e.server.Listen(); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.server.Run(ctx) }()
	e.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Error(err)
		}
		f.Close()
	})
	tb.Cleanup(e.stop)
	return e
}

func slowly(c *server.Config) { c.Fast.Auth = nil }

// warm has the key remembered and a connection to the upstream idle.
func (e *edge) warm() *edge {
	e.tb.Helper()
	c := e.dial()
	if r := c.ask(get("/warm")); r.status == 0 {
		e.tb.Fatalf("warming up: %+v", r)
	}
	c.Close()
	return e
}

// ways returns how often requests were answered by a loop, handed over, taken up halfway, and refused by a loop.
func (e *edge) ways() (counts [4]int) {
	e.tb.Helper()
	for i, way := range []string{"answered", "handed_over", "taken_up", "refused"} {
		counts[i] = int(e.count("keygate_proxy_fastpath_requests_total", way))
	}
	return counts
}

func (e *edge) count(name, label string) float64 {
	e.tb.Helper()
	families, err := e.registry.Gather()
	if err != nil {
		e.tb.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

// client is a client's connection.
type client struct {
	net.Conn
	tb     testing.TB
	reader *bufio.Reader
}

func (e *edge) dial() *client {
	e.tb.Helper()
	c, err := net.Dial(e.server.Addr().Network(), e.server.Addr().String())
	if err != nil {
		e.tb.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	e.tb.Cleanup(func() { c.Close() })
	return &client{Conn: c, tb: e.tb, reader: bufio.NewReader(c)}
}

// refused says whether the listener is closed.
func (e *edge) refused() bool {
	c, err := net.Dial(e.server.Addr().Network(), e.server.Addr().String())
	if err == nil {
		c.Close()
	}
	return err != nil
}

// reply is an answer as a client sees it. A status of 0 says that there was none.
type reply struct {
	status int
	header http.Header
	body   string
	whole  bool
	closes bool
}

func (c *client) ask(raw string) reply {
	c.tb.Helper()
	c.say(raw)
	method, _, _ := strings.Cut(raw, " ")
	return c.hear(method)
}

func (c *client) say(raw string) {
	c.tb.Helper()
	if _, err := io.WriteString(c, raw); err != nil {
		c.tb.Fatal(err)
	}
}

func (c *client) hear(method string) reply {
	response, err := http.ReadResponse(c.reader, &http.Request{Method: method})
	if err != nil {
		return reply{}
	}
	body, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, string(body), err == nil, response.Close}
}

// ended says that nothing follows.
func (c *client) ended() bool {
	_, err := c.reader.ReadByte()
	return err == io.EOF
}

func get(target string, lines ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: edge\r\nX-API-Key: good\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n"
}

func post(target, framing string, lines ...string) string {
	return "POST " + target + " HTTP/1.1\r\nHost: edge\r\nX-API-Key: good\r\n" + strings.Join(append(lines, ""), "\r\n") + framing
}
