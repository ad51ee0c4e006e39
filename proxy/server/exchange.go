package server

import (
	"fmt"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/proxy/auth"
	"keygate/proxy/forward"
	"keygate/proxy/header"
	"keygate/proxy/identity"
	"keygate/shared/listen"
	"keygate/shared/uuid7"
)

// exchange is one request while it is served. It belongs to the goroutine of its connection.
type exchange struct {
	ctx      *fasthttp.RequestCtx
	lines    header.Lines
	target   []byte // path and query as the client sent them; until it is admitted, all of the target
	header   []byte // the lines for the upstream
	minted   [36]byte
	org      []byte         // the organization of the key
	key      []byte         // presented, while the request is forwarded
	kept     []byte         // the client's own request id, if it is worth keeping
	who      auth.Principal // none for what is public
	vouched  identity.Vouch
	origin   identity.Origin
	located  bool // origin is known
	started  time.Time
	resolved time.Time      // when it was known who is calling; zero if that was not asked
	decided  *auth.Decision // by the fast path; nil: nothing
	begun    *forward.Begun // by the fast path
	broken   bool           // where the next request begins is not certain: the connection must close

	watch func(cut func()) (stop func()) // of key
}

func newExchange(s *Server) *exchange {
	x := &exchange{lines: make(header.Lines, 0, 32), header: make([]byte, 0, 1024)}
	x.watch = func(cut func()) (stop func()) { return s.watch(x.key, cut) }
	return x
}

// exchangePool keeps exchanges with their buffers.
type exchangePool struct{ pool sync.Pool }

func (p *exchangePool) acquire(ctx *fasthttp.RequestCtx) *exchange {
	x := p.pool.Get().(*exchange)
	x.ctx = ctx
	x.target = ctx.Request.Header.RequestURI()
	x.started = time.Now()
	return x
}

func (p *exchangePool) release(x *exchange) {
	clear(x.lines)
	*x = exchange{lines: x.lines[:0], header: x.header[:0], org: x.org[:0], watch: x.watch}
	p.pool.Put(x)
}

// requestID is the client's own if it is sane, else one minted for this request. It is for people and logs: clients
// reuse theirs, so nothing that is stored is named by it.
func (x *exchange) requestID() []byte {
	if x.kept != nil {
		return x.kept
	}
	if x.minted[0] == 0 {
		_, _ = uuid7.Mint(x.started).AppendText(x.minted[:0])
	}
	return x.minted[:]
}

// locate finds out once where an admitted request comes from.
func (s *Server) locate(x *exchange) *identity.Origin {
	if !x.located {
		s.Policy.Origin(&x.origin, x.lines, listen.Peer(x.ctx.Conn()))
		x.located = true
	}
	return &x.origin
}

// vouch says what the upstream is told about the request.
func (s *Server) vouch(x *exchange, who auth.Principal) *identity.Vouch {
	v := &x.vouched
	*v = identity.Vouch{Method: x.ctx.Method(), Target: x.target, Now: x.started, Origin: s.locate(x)}
	if x.kept == nil {
		v.RequestID = x.requestID()
	}
	if who.OrgID != "" {
		x.org = append(x.org, who.OrgID...)
		v.Org, v.KeyPrefix, v.ID = x.org, who.Prefix, uuid7.Mint(x.started)
	}
	return v
}

// upgrade returns the protocol that the client asks to go on with, or nil. HTTP/1.0 knows none (RFC 9110, 7.8).
func (x *exchange) upgrade() []byte {
	line, err := x.lines.One(header.Upgrade)
	if err != nil || !x.ctx.Request.Header.IsHTTP11() || line == nil || !x.lines.Named([]byte("upgrade")) {
		return nil
	}
	return line.Value
}

// tellTiming adds where the time went: finding out who calls, and all of it.
func (x *exchange) tellTiming(took time.Duration) {
	millis := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	timing := fmt.Sprintf("total;dur=%.3f", millis(took))
	if !x.resolved.IsZero() {
		timing = fmt.Sprintf("auth;dur=%.3f, %s", millis(x.resolved.Sub(x.started)), timing)
	}
	x.ctx.Response.Header.Add("Server-Timing", timing)
	x.ctx.Response.Header.Set("X-Process-Time", fmt.Sprintf("%.6f", took.Seconds()))
}
