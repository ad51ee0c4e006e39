package forward

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
)

var (
	errConnecting = fmt.Errorf("%w: connecting", ErrUnreachable)
	errClosed     = fmt.Errorf("%w: the forwarder is closed", ErrUnreachable)
)

// Forwarder sends requests to upstreams. Safe for concurrent use.
type Forwarder struct {
	cfg     Config
	groups  []*group // the longest prefix first
	targets map[string]*target
	metrics *metrics
	calls   sync.Pool

	ctx    context.Context // of dialling
	cancel context.CancelFunc

	mu     sync.Mutex // also held while deciding that somebody sits out
	closed bool
	lives  map[*live]struct{}
	ended  sync.WaitGroup // of lives
}

// New checks cfg. It opens no connection.
func New(cfg Config) (*Forwarder, error) {
	cfg.ConnectTimeout = cmp.Or(cfg.ConnectTimeout, 5*time.Second)
	cfg.ResponseTimeout = cmp.Or(cfg.ResponseTimeout, 30*time.Second)
	cfg.IdleTimeout = cmp.Or(cfg.IdleTimeout, 60*time.Second)
	cfg.MaxConns = cmp.Or(cfg.MaxConns, 4096)
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	f := &Forwarder{cfg: cfg, targets: map[string]*target{}, lives: map[*live]struct{}{}}
	if err := f.addTargets(); err != nil {
		return nil, err
	}
	f.metrics = newMetrics(cfg.Registerer, f.targets)
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.calls.New = func() any { return &call{f: f} }
	return f, nil
}

// Forward sends the request of ctx to an upstream and fills ctx.Response: status line, headers without those of the
// connection, and the body, which is a stream if it is longer than 64 KiB or its length is unknown.
//
// The handler is to return soon afterwards. It may still change ctx.Response.Header, but neither body nor framing, and
// may no longer use ctx.Request.Header. Forward may have hijacked the client's connection; it sets that connection's
// deadlines only while a body is streamed. The server's connections should have CloseWrite, and its NoDefaultDate keeps
// the upstream's Date.
func (f *Forwarder) Forward(ctx *fasthttp.RequestCtx, exchange Exchange) error {
	c := f.calls.Get().(*call)
	c.ctx, c.exchange = ctx, exchange
	err := c.run()
	f.metrics.observe(ctx.Response.StatusCode(), err)
	if !c.goesOn {
		c.release()
	}
	return err
}

// Close breaks off what is still streamed or spliced, and waits until that is over. It is to be called once the server
// has been shut down: requests that come later fail with ErrUnreachable.
func (f *Forwarder) Close() {
	f.cancel()
	for _, t := range f.targets {
		t.close()
	}
	f.mu.Lock()
	f.closed = true
	lives := slices.Collect(maps.Keys(f.lives))
	f.mu.Unlock()
	for _, l := range lives {
		l.cut()
	}
	f.ended.Wait()
}

// live is an exchange that may take long, so that others may want to break it off.
type live struct {
	up, client net.Conn
	unwatch    func()
	cuts       chan struct{} // closed when it was cut

	mu    sync.Mutex // held while cutting, so that a connection's next user is not cut
	isCut bool
	ended bool
}

func (f *Forwarder) begin(c *call) error {
	l := &live{up: c.up.Conn, client: c.ctx.Conn(), unwatch: func() {}, cuts: make(chan struct{})}
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return errClosed
	}
	f.lives[l] = struct{}{}
	f.ended.Add(1)
	f.mu.Unlock()
	if c.live = l; c.exchange.Watch != nil {
		l.unwatch = c.exchange.Watch(l.cut)
	}
	return nil
}

func (f *Forwarder) end(l *live) {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.unwatch()
	f.mu.Lock()
	delete(f.lives, l)
	f.mu.Unlock()
	f.ended.Done()
}

func (l *live) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isCut || l.ended {
		return
	}
	l.isCut = true
	close(l.cuts)
	l.up.Close()
	l.client.Close()
}
