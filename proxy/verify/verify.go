// Package verify answers whether a request may pass and who sends it, and forwards nothing. It is what nginx's auth_request,
// Caddy's forward_auth, Traefik's ForwardAuth and Envoy's ext_authz ask before they forward a request themselves.
//
// Nothing of a request counts but its credential, found by the rules of the edge. Method, path and body are anything: the
// proxy that asks knows where its request is going to end, and what it says of that came from a client. So there are no
// public paths here; a proxy that has some does not ask about them.
package verify

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/proxy/auth"
	"keygate/proxy/header"
	"keygate/proxy/identity"
	"keygate/proxy/refusal"
	"keygate/shared/problem"
	"keygate/shared/serving"
	"keygate/shared/uuid7"
)

// Authenticator decides whether a presented key may pass. The decision aliases key.
type Authenticator interface {
	Resolve(ctx context.Context, key []byte, from netip.Addr) auth.Decision
}

// Config is what a Server needs; all fields must be set, but DrainDelay.
type Config struct {
	Address string // host:port or unix:PATH

	Auth   Authenticator
	Policy *identity.Policy

	HeaderTimeout time.Duration
	IdleTimeout   time.Duration
	DrainDelay    time.Duration // how long to go on serving after the stop was asked for

	Logger  *slog.Logger
	Metrics *serving.Metrics
}

// Server serves the verify listener.
type Server struct {
	*serving.Server
	Config
	lines sync.Pool // of *header.Lines
}

// New returns a Server that does not listen yet.
func New(cfg Config) *Server {
	s := &Server{Config: cfg, lines: sync.Pool{New: func() any { return new(header.Lines) }}}
	s.Server = serving.New(serving.Config{
		Listen: cfg.Address, Handler: s.serve, Refuse: s.refuseUnparsed, IgnoreBody: true, Origin: true,
		MaxHeader: maxHeader, ReadTimeout: cfg.HeaderTimeout, IdleTimeout: cfg.IdleTimeout, DrainDelay: cfg.DrainDelay,
		Logger: cfg.Logger, Metrics: cfg.Metrics,
	})
	return s
}

// 64 KiB hold what the edge accepts, and more than other proxies do unless they are told to.
const maxHeader = 64 << 10

func (s *Server) serve(ctx *fasthttp.RequestCtx) {
	started := time.Now()
	lines := s.lines.Get().(*header.Lines)
	if who, refused := s.ask(ctx, lines); refused.Code == "" {
		s.vouch(&ctx.Response, who, uuid7.Mint(started))
	} else {
		s.refuse(&ctx.Response, refused, lines.SaneRequestID())
	}
	clear(*lines)
	s.lines.Put(lines)
	s.Metrics.Served(ctx.Response.StatusCode(), time.Since(started))
}

// ask finds out who is calling, or why they may not. A header that can be read in two ways closes the connection.
func (s *Server) ask(ctx *fasthttp.RequestCtx, lines *header.Lines) (who auth.Principal, refused problem.Problem) {
	var err error
	*lines, err = header.Parse((*lines)[:0], header.Section(ctx.Request.Header.RawHeaders()))
	if err != nil {
		ctx.SetConnectionClose()
		return who, refusal.Header(err)
	}
	key, err := s.Policy.Credential(*lines)
	if err != nil {
		return who, refusal.Credential(err)
	}
	// Bounded by itself; a shutdown must not cut it off. All come from the address of the proxy that asks.
	decision := s.Auth.Resolve(context.Background(), key, netip.Addr{})
	if decision.Outcome() != auth.Allow {
		return who, refusal.Decision(decision)
	}
	return decision.Principal, problem.Problem{}
}

// vouch says who is calling. Unlike what the edge says to an upstream, it is not signed: it is said to a proxy that asked,
// about a request whose target in the end only that proxy knows.
func (s *Server) vouch(resp *fasthttp.Response, who auth.Principal, id uuid7.ID) {
	s.identify(resp, who.OrgID, string(who.Prefix), id.String())
}

// refuse names nobody, by headers that are there and empty: a proxy that copies them overwrites what its client has sent.
func (s *Server) refuse(resp *fasthttp.Response, p problem.Problem, requestID []byte) {
	s.Metrics.Refused(p.Code)
	p.Status = understood(p.Code.Status())
	if p.RequestID = string(requestID); p.RequestID == "" {
		p.RequestID = uuid7.Mint(time.Now()).String()
	}
	p.Write(resp)
	s.identify(resp, "", "", "")
}

// identify also keeps answers out of caches: one that is kept outlives the key.
func (s *Server) identify(resp *fasthttp.Response, org, key, id string) {
	resp.Header.Set(s.Policy.OrgHeader, org)
	resp.Header.Set(identity.KeyHeader, key)
	resp.Header.Set(identity.IDHeader, id)
	resp.Header.Set(fasthttp.HeaderCacheControl, "no-store")
}

// understood is the status that proxies take for what status means: many take any but 401 and 403 for a fault of ours.
// A request without exactly one credential that can be read is not authenticated, whatever else is wrong with it.
func understood(status int) int {
	switch status {
	case fasthttp.StatusForbidden, fasthttp.StatusServiceUnavailable:
		return status
	case fasthttp.StatusRequestTimeout:
		return fasthttp.StatusServiceUnavailable
	}
	return fasthttp.StatusUnauthorized
}

// refuseUnparsed answers what the HTTP parser gave up on. The server closes the connection afterwards.
func (s *Server) refuseUnparsed(ctx *fasthttp.RequestCtx, err error) {
	serving.Linger(ctx)
	s.refuse(&ctx.Response, refusal.Unparsed(err), nil)
	s.Metrics.Served(ctx.Response.StatusCode(), 0)
}
