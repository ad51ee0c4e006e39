package forward_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"keygate/proxy/forward"
	"keygate/proxy/upstream"
	"keygate/shared/serving"
)

func TestMain(m *testing.M) {
	if address := os.Getenv(responderEnv); address != "" {
		respond(address)
		return
	}
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"), // sleeps on after Shutdown
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"))
}

// A short limit is to pass. It leaves what is not to take that long time enough on a machine that is busy.
const shortLimit = 700 * time.Millisecond

// patience bounds every wait in the tests; only failing tests take that long.
const patience = 30 * time.Second

// service is an upstream: it accepts connections and gives each to serve. It counts connections and remembers requests.
type service struct {
	net.Listener
	tb    testing.TB
	conns sync.WaitGroup

	mu       sync.Mutex
	open     map[net.Conn]struct{}
	accepted int
	requests []message
}

func startUpstream(tb testing.TB, serve func(u *service, p *peer)) *service {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	u := &service{Listener: l, tb: tb, open: map[net.Conn]struct{}{}}
	u.conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			u.mu.Lock()
			u.accepted++
			u.open[c] = struct{}{}
			u.mu.Unlock()
			u.conns.Go(func() {
				serve(u, newPeer(tb, c))
				c.Close()
				u.mu.Lock()
				delete(u.open, c)
				u.mu.Unlock()
			})
		}
	})
	tb.Cleanup(u.stop)
	return u
}

func (u *service) stop() {
	u.Close()
	u.dropAll()
	u.conns.Wait()
}

// dropAll closes all connections from the upstream's side.
func (u *service) dropAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for c := range u.open {
		c.Close()
	}
}

// next reads a request and remembers it.
func (u *service) next(p *peer) (message, bool) {
	m, ok := p.request()
	if ok {
		u.mu.Lock()
		u.requests = append(u.requests, m)
		u.mu.Unlock()
	}
	return m, ok
}

func (u *service) counts() (connections, requests int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.accepted, len(u.requests)
}

func (u *service) seen() []message {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.requests
}

func (u *service) url() string {
	return "http://" + u.Addr().String()
}

// always answers every request with the same bytes.
func always(answer string) func(u *service, p *peer) {
	return func(u *service, p *peer) {
		for {
			if _, ok := u.next(p); !ok {
				return
			}
			p.send(answer)
		}
	}
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// proxy is a server that forwards everything, as the real one does after its own checks.
type proxy struct {
	tb        testing.TB
	forwarder *forward.Forwarder
	metrics   *prometheus.Registry
	server    *serving.Server

	mu   sync.Mutex
	errs []error
}

type options struct {
	config   forward.Config
	routes   []upstream.Route
	maxConns int
	exchange func(ctx *fasthttp.RequestCtx, e *forward.Exchange)
	after    func(ctx *fasthttp.RequestCtx)
}

func startProxy(tb testing.TB, config forward.Config, urls ...string) *proxy {
	tb.Helper()
	return startProxyWith(tb, options{config: config}, urls...)
}

func startProxyWith(tb testing.TB, o options, urls ...string) *proxy {
	tb.Helper()
	p := &proxy{tb: tb, metrics: prometheus.NewRegistry()}
	upstreams, err := upstream.New(upstream.Config{
		Upstreams: urls, Routes: o.routes, MaxConns: o.maxConns, Logger: slog.New(slog.DiscardHandler), Registerer: p.metrics,
	})
	if err != nil {
		tb.Fatal(err)
	}
	o.config.Upstreams, o.config.Registerer = upstreams, p.metrics
	p.forwarder = forward.New(o.config)
	p.server = serving.New(serving.Config{
		Listen: "127.0.0.1:0", Handler: func(ctx *fasthttp.RequestCtx) { p.handle(ctx, &o) },
		Refuse:    func(ctx *fasthttp.RequestCtx, err error) { ctx.Error(err.Error(), 400) },
		MaxHeader: 16 << 10, ReadTimeout: time.Minute, IdleTimeout: time.Minute, Logger: slog.New(slog.DiscardHandler),
		Metrics: serving.NewMetrics(p.metrics, "proxy"),
	})
	if err := p.server.Listen(); err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.server.Run(ctx) }()
	tb.Cleanup(func() {
		stop()
		done := make(chan struct{})
		go func() { p.forwarder.Close(); close(done) }()
		if err := <-served; err != nil {
			tb.Error(err)
		}
		select {
		case <-done:
		case <-time.After(patience):
			tb.Error("Close did not return")
		}
	})
	return p
}

var statuses = []struct {
	err    error
	status int
}{
	{forward.ErrUnreachable, 502}, {forward.ErrBadResponse, 502}, {forward.ErrTimeout, 504}, {forward.ErrBusy, 503},
	{forward.ErrBodyTooLarge, 413}, {forward.ErrClientBody, 400}, {forward.ErrClientTimeout, 408},
}

// dropped are the lines that the caller keeps from the upstream.
var dropped = regexp.MustCompile(
	`(?im)^(connection|keep-alive|te|trailer|transfer-encoding|content-length|upgrade|expect):.*\r\n`)

func (p *proxy) handle(ctx *fasthttp.RequestCtx, o *options) {
	h := &ctx.Request.Header
	e := forward.Exchange{Target: h.RequestURI()}
	e.Header = bytes.TrimSuffix(dropped.ReplaceAll(h.RawHeaders(), nil), []byte("\r\n"))
	if bytes.EqualFold(h.Peek("Connection"), []byte("upgrade")) {
		e.Upgrade = string(h.Peek("Upgrade"))
	}
	if o.exchange != nil {
		o.exchange(ctx, &e)
	}
	if err := p.forwarder.Forward(ctx, e); err != nil {
		p.mu.Lock()
		p.errs = append(p.errs, err)
		p.mu.Unlock()
		for _, s := range statuses {
			if errors.Is(err, s.err) {
				ctx.Response.Reset()
				ctx.Error(s.err.Error(), s.status)
				return
			}
		}
		ctx.Error(err.Error(), 599)
	}
	if o.after != nil {
		o.after(ctx)
	}
}

func (p *proxy) lastError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.errs) == 0 {
		return nil
	}
	return p.errs[len(p.errs)-1]
}

// client opens a connection to the proxy.
func (p *proxy) client() *peer {
	p.tb.Helper()
	c, err := net.Dial("tcp", p.server.Addr().String())
	if err != nil {
		p.tb.Fatal(err)
	}
	p.tb.Cleanup(func() { c.Close() })
	return newPeer(p.tb, c)
}

// ask sends one request on a connection of its own.
func (p *proxy) ask(request string) message {
	p.tb.Helper()
	c := p.client()
	defer c.Close()
	c.send(request)
	return c.answer()
}

func (p *proxy) get(target string) message {
	p.tb.Helper()
	return p.ask("GET " + target + " HTTP/1.1\r\nHost: example.com\r\n\r\n")
}

func post(target, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: example.com\r\nContent-Length: %d\r\n\r\n%s", target, len(body), body)
}

// metric adds up the series of a name whose labels hold all of labels.
func (p *proxy) metric(name string, labels ...string) float64 {
	p.tb.Helper()
	families, err := p.metrics.Gather()
	if err != nil {
		p.tb.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != "keygate_proxy_upstream_"+name {
			continue
		}
		for _, series := range family.Metric {
			text := fmt.Sprint(series.GetLabel())
			matches := true
			for _, label := range labels {
				matches = matches && strings.Contains(text, label)
			}
			if matches {
				sum += series.GetCounter().GetValue() + series.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// eventually polls a condition for which there is no signal.
func eventually(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !condition(); <-tick.C {
		if time.Now().After(deadline) {
			tb.Fatalf("not in time: %s", what)
		}
	}
}

func closeWrite(tb testing.TB, p *peer) {
	tb.Helper()
	if err := p.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		tb.Fatal(err)
	}
}
