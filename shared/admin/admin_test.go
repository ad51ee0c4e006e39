package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"keygate/shared/admin"
	"keygate/shared/build"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// looks only every ten seconds whether its server has stopped
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		// keeps the Date of all servers for as long as the process lives
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

const token = "an admin token of the tests"

// server is a running admin listener and a client of it.
type server struct {
	*admin.Server
	tb     testing.TB
	client *http.Client
	log    *lockedBuffer
	stop   func() error // ends Run and returns its error; may be called again
}

// config is what a program would serve, on a free loopback port and without a token.
func config() admin.Config {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "keygate_proxy_test_total", Help: "A counter."})
	registry.MustRegister(counter)
	counter.Add(42)
	return admin.Config{
		Program: "proxy", Listen: "127.0.0.1:0",
		Ready:    func() (bool, []string) { return true, nil },
		Gatherer: registry,
		Stats:    func() any { return map[string]any{"requests": map[string]int{"served_total": 7}} },
		Headline: []string{"requests.served_total"},
		Build:    build.Details{Version: "v1.2.3", Go: "go1"},
	}
}

func start(tb testing.TB, config admin.Config, add ...func(*admin.Server)) *server {
	tb.Helper()
	log := &lockedBuffer{}
	config.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := admin.New(config)
	for _, f := range add {
		f(s)
	}
	if err := s.Listen(); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		addr := s.Addr()
		if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
			addr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: tcp.Port}
		}
		return new(net.Dialer).DialContext(ctx, addr.Network(), addr.String())
	}}
	stop := sync.OnceValue(func() error { cancel(); return <-done })
	tb.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := stop(); err != nil {
			tb.Error(err)
		}
	})
	refuseRedirects := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &server{Server: s, tb: tb, log: log, stop: stop,
		client: &http.Client{Transport: transport, CheckRedirect: refuseRedirects}}
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body []byte
}

// do sends "METHOD /path" with headers given as "Name: value". Host and body are headers here too.
func (s *server) do(target string, headers ...string) answer {
	s.tb.Helper()
	method, path, _ := strings.Cut(target, " ")
	req, err := http.NewRequestWithContext(s.tb.Context(), method, "http://localhost"+path, nil)
	if err != nil {
		s.tb.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		switch name {
		case "Host":
			req.Host = value
		case "body":
			req.Body, req.ContentLength = io.NopCloser(strings.NewReader(value)), int64(len(value))
		default:
			req.Header.Add(name, value)
		}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.tb.Fatal(err)
	}
	return answer{resp, body}
}

// expect fails unless the answer has the status and, for errors, the code.
func (a answer) expect(tb testing.TB, status int, code string) answer {
	tb.Helper()
	var problem struct{ Code, Detail string }
	if code != "" {
		if err := json.Unmarshal(a.body, &problem); err != nil || a.Header.Get("Content-Type") != "application/problem+json" {
			tb.Errorf("%s %s: no problem: %s", a.Request.Method, a.Request.URL, a.body)
		}
		if problem.Detail == "" {
			tb.Errorf("%s %s: %s has no detail", a.Request.Method, a.Request.URL, code)
		}
	}
	if a.StatusCode != status || problem.Code != code {
		tb.Errorf("%s %s: got %d %s, want %d %s: %.200s",
			a.Request.Method, a.Request.URL, a.StatusCode, problem.Code, status, code, a.body)
	}
	return a
}

// echo answers with what the handler was given.
func echo(ctx *fasthttp.RequestCtx) {
	ctx.SetBodyString(string(ctx.Method()) + " " + admin.Rest(ctx) + " " + string(ctx.PostBody()))
}

func withRoutes(s *admin.Server) {
	s.Handle("GET", "/v1/cache/keys/", echo)
	s.Handle("DELETE", "/v1/cache/keys/", echo)
	s.Handle("POST", "/v1/cache/invalidate", echo)
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
