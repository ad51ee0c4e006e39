package forward

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/proxy/upstream"
	"keygate/shared/socket"
)

var errClosed = fmt.Errorf("%w: the forwarder is closed", ErrUnreachable)

// Forwarder sends requests to upstreams. Safe for concurrent use.
type Forwarder struct {
	cfg     Config
	metrics *metrics
	calls   sync.Pool

	ctx    context.Context // ends what takes long
	cancel context.CancelFunc

	mu    sync.Mutex     // held while something long begins, which is not to be once ctx has ended
	ended sync.WaitGroup // of what takes long
}

// New returns a Forwarder. It opens no connection.
func New(cfg Config) *Forwarder {
	cfg.ResponseTimeout = cmp.Or(cfg.ResponseTimeout, 30*time.Second)
	cfg.IdleTimeout = cmp.Or(cfg.IdleTimeout, 60*time.Second)
	f := &Forwarder{cfg: cfg, metrics: newMetrics(cfg.Registerer)}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.calls.New = func() any { return &call{f: f} }
	return f
}

// Forward sends the request of ctx to an upstream and fills ctx.Response: status line, headers without those of the
// connection, and the body, which is a stream if it is longer than 64 KiB or its length is unknown.
//
// The handler is to return soon afterwards. It may still change ctx.Response.Header, but neither body nor framing, and
// may no longer use ctx.Request.Header. Forward may have hijacked the client's connection; it sets that connection's
// deadlines only while a body is streamed. The server is to be a serving.Server.
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

// Idle returns an idle connection to the upstream that target is meant for, if possible one that is watched by watcher, and
// nil if there is none, or none that Start and Receive can use. Whoever takes it forwards a request by himself, and tells
// Answered what became of it, or has Forward go on with it.
func (f *Forwarder) Idle(target []byte, watcher any, now time.Time) *upstream.Conn {
	return f.cfg.Upstreams.Route(target).Idle(watcher, now)
}

// Answered counts an answer to a request that was forwarded without Forward.
func (f *Forwarder) Answered(status int) { f.metrics.observe(status, nil) }

// Close breaks off what is still streamed or spliced, waits until that is over, and closes the upstreams. It is to be
// called once the server has been shut down: requests that come later fail with ErrUnreachable.
func (f *Forwarder) Close() {
	f.mu.Lock()
	f.cancel()
	f.mu.Unlock()
	f.cfg.Upstreams.Close()
	f.ended.Wait()
}

// begin makes it possible to break an exchange off that may take long, until c.end is called.
func (f *Forwarder) begin(c *call) error {
	f.mu.Lock()
	if f.ctx.Err() != nil {
		f.mu.Unlock()
		return errClosed
	}
	f.ended.Add(1)
	f.mu.Unlock()
	var over sync.Once // also while cutting, so that a connection's next user is not cut
	up, client := c.up.Conn, c.ctx.Conn()
	cut := func() { over.Do(func() { up.Close(); socket.Reset(client) }) }
	unclose, unwatch := context.AfterFunc(f.ctx, cut), func() {}
	if c.exchange.Watch != nil {
		unwatch = c.exchange.Watch(cut)
	}
	c.end = func() (uncut bool) {
		over.Do(func() { uncut = true })
		unclose()
		unwatch()
		f.ended.Done()
		return uncut
	}
	return nil
}
