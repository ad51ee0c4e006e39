// Package server is the proxy's data path: one request from its first byte to the upstream's answer.
package server

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/proxy/auth"
	"keygate/proxy/fastpath"
	"keygate/proxy/forward"
	"keygate/proxy/header"
	"keygate/proxy/identity"
	"keygate/proxy/refusal"
	"keygate/shared/certificate"
	"keygate/shared/problem"
	"keygate/shared/serving"
)

// Authenticator decides whether a presented key, which came from an address or from nowhere known, may pass. The decision
// aliases key.
type Authenticator interface {
	Resolve(ctx context.Context, key []byte, from netip.Addr) auth.Decision
}

// Forwarder sends one admitted request to its upstream and fills the response.
type Forwarder interface {
	Forward(ctx *fasthttp.RequestCtx, x forward.Exchange) error
}

// Fast is what requests need that are served without a goroutine of their own. There are none over TLS, nor with Timing.
type Fast struct {
	Auth            fastpath.Authenticator
	Upstreams       fastpath.Upstreams
	ResponseTimeout time.Duration
	Metrics         *fastpath.Metrics
}

// Config is what a Server needs; all fields must be set, but for the ones that say otherwise.
type Config struct {
	Address string              // host:port or unix:PATH
	Shared  bool                // with other processes
	Limits  serving.Limits      // on connections
	TLS     *certificate.Keeper // nil: none

	Auth    Authenticator
	Policy  *identity.Policy
	Forward Forwarder
	Fast    Fast // its zero value: every connection has a goroutine

	Public          []string // raw path prefixes that need no key; may be empty
	PublicPreflight bool     // CORS preflight requests need no key
	Timing          bool     // tell clients how long we took

	MaxBody       int64 // bytes; 0: no limit
	HeaderTimeout time.Duration
	IdleTimeout   time.Duration
	DrainDelay    time.Duration // how long to go on serving after the stop was asked for

	Logger  *slog.Logger
	Metrics *serving.Metrics
}

// Server serves the edge listener.
type Server struct {
	*serving.Server
	Config
	public    public
	exchanges exchangePool
}

// New returns a Server that does not listen yet.
func New(cfg Config) *Server {
	s := &Server{Config: cfg, public: public{paths: cfg.Public, preflight: cfg.PublicPreflight}}
	s.exchanges.pool.New = func() any { return newExchange(s) }
	s.Server = serving.New(serving.Config{
		Listen: cfg.Address, Shared: cfg.Shared, Limits: cfg.Limits, TLS: cfg.TLS, Front: s.front(),
		Handler: s.serve, Refuse: s.refuseUnparsed, Expect: s.expect, Early: true,
		MaxHeader: maxHeader, ReadTimeout: cfg.HeaderTimeout, IdleTimeout: cfg.IdleTimeout, DrainDelay: cfg.DrainDelay,
		Logger: cfg.Logger, Metrics: cfg.Metrics,
	})
	return s
}

// front returns the listener of the fast path, or nil if there is none.
func (s *Server) front() func(net.Listener) (serving.Front, error) {
	if s.Fast.Upstreams == nil || s.TLS != nil || s.Timing {
		return nil
	}
	return func(inner net.Listener) (serving.Front, error) {
		return fastpath.Listen(inner, fastpath.Config{
			Auth: s.Fast.Auth, Policy: s.Policy, Upstreams: s.Fast.Upstreams,
			Public: s.public.names, MaxBody: s.MaxBody,
			Served: s.Metrics.Served, Refused: s.Metrics.Refused, Refusal: refusal.Decision,
			HeaderTimeout: s.HeaderTimeout, IdleTimeout: s.IdleTimeout, ResponseTimeout: s.Fast.ResponseTimeout,
			Metrics: s.Fast.Metrics,
		})
	}
}

// 64 KiB hold the largest cookies that browsers send, several times over.
const maxHeader = 64 << 10

// serve is the data path.
func (s *Server) serve(ctx *fasthttp.RequestCtx) {
	x, expected := ctx.UserValue(expectedKey).(*exchange)
	if !expected {
		x = s.exchanges.acquire(ctx)
	}
	defer s.exchanges.release(x)
	if x.decided, x.begun = fastpath.Begun(ctx.Conn()); x.begun != nil {
		s.resume(x)
	} else if expected || s.lets(x) {
		s.forward(x)
	}
	s.finish(x)
}

// resume goes on with a request that the fast path has let pass and sent.
func (s *Server) resume(x *exchange) {
	x.started = x.begun.At
	x.lines, _ = header.Parse(x.lines[:0], header.Section(x.ctx.Request.Header.RawHeaders()))
	x.key, _ = s.Policy.Credential(x.lines)
	if copy(x.minted[:], x.begun.RequestID) == 0 {
		x.kept = x.lines.SaneRequestID()
	}
	s.forward(x)
}

// expectedKey leads from a request to its exchange, if expect has let it pass.
const expectedKey = "exchange"

// expect does what can be done before the body is sent: a client that waits with it learns that it is refused, and has not
// sent it in vain.
func (s *Server) expect(ctx *fasthttp.RequestCtx) (status int) {
	x := s.exchanges.acquire(ctx)
	if s.lets(x) {
		ctx.SetUserValue(expectedKey, x)
		return fasthttp.StatusContinue
	}
	s.finish(x)
	s.exchanges.release(x)
	return ctx.Response.StatusCode()
}

// lets says whether the request may be forwarded, and answers it if not.
func (s *Server) lets(x *exchange) bool {
	if p, ok := s.admit(x); !ok {
		s.refuse(x, p)
		return false
	}
	if s.public.lets(x) {
		return true
	}
	key, err := s.Policy.Credential(x.lines)
	if err != nil {
		s.refuse(x, refusal.Credential(err))
		return false
	}
	decision := s.decide(x, key)
	x.resolved = time.Now()
	if decision.Outcome() != auth.Allow {
		s.refuse(x, refusal.Decision(decision))
		return false
	}
	x.who, x.key = decision.Principal, key
	return true
}

func (s *Server) decide(x *exchange, key []byte) auth.Decision {
	if x.decided != nil {
		return *x.decided
	}
	// Bounded by itself; a shutdown must not cut it off.
	return s.Auth.Resolve(context.Background(), key, s.locate(x).Client())
}

func (s *Server) forward(x *exchange) {
	if x.begun == nil {
		x.header = s.Policy.AppendHeader(x.header[:0], x.lines, s.vouch(x, x.who))
	}
	exchange := forward.Exchange{Header: x.header, Target: x.target, Upgrade: string(x.upgrade()), Begun: x.begun}
	if x.key != nil {
		exchange.Watch = x.watch
	}
	err := s.Forward.Forward(x.ctx, exchange)
	if err != nil {
		x.broken = leavesBody(err)
		s.refuse(x, forwardProblem(err))
	}
}

// finish is done for every answer, ours or the upstream's.
func (s *Server) finish(x *exchange) {
	took := time.Since(x.started)
	if s.Timing {
		x.tellTiming(took)
	}
	s.Metrics.Served(x.ctx.Response.StatusCode(), took)
}

func (s *Server) refuse(x *exchange, p problem.Problem) {
	p.RequestID = string(x.requestID())
	s.Metrics.Refused(p.Code)
	p.Write(&x.ctx.Response)
	serving.Linger(x.ctx)
	if x.broken {
		x.ctx.SetConnectionClose()
	}
}
