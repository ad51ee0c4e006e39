// Package server is the writer's HTTP side: it believes the proxy, decodes events, and answers once they are durable.
package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/shared/problem"
	"keygate/shared/serving"
	"keygate/shared/trust"
	"keygate/writer/commit"
	"keygate/writer/event"
)

// Committer makes the events of one organisation durable and tells the truth about each, in their order.
type Committer interface {
	Submit(ctx context.Context, events []*event.Event) ([]commit.Answer, error)
}

// Config is what a Server needs; all fields must be set, but for the ones that say otherwise.
type Config struct {
	Address   string         // host:port or unix:PATH
	OrgHeader string         // names the organisation
	Secrets   *trust.Secrets // nil: whoever can connect is believed
	Commit    Committer

	MaxBody     int // bytes
	MaxArriving int // bytes of all bodies that are on their way, small ones not counted
	DrainDelay  time.Duration

	Logger  *slog.Logger
	Metrics *serving.Metrics
}

// Server serves the event listener.
type Server struct {
	*serving.Server
	Config
	arrivals *arrivals
}

const (
	// maxHeader is room for the proxy's headers and a client's cookies.
	maxHeader = 64 << 10
	// readTimeout bounds a whole request: the largest body at 1 Mbit/s takes 67 seconds.
	readTimeout = 90 * time.Second
	idleTimeout = 2 * time.Minute // longer than the proxy keeps connections, so that the proxy is the one to close
)

// New returns a Server that does not listen yet.
func New(cfg Config) *Server {
	s := &Server{Config: cfg, arrivals: newArrivals(cfg.MaxArriving, cfg.MaxBody)}
	s.Server = serving.New(serving.Config{
		Listen: cfg.Address, Handler: s.Handle, Refuse: s.refuseUnparsed, Origin: true,
		MaxHeader: maxHeader, ReadTimeout: readTimeout, IdleTimeout: idleTimeout, DrainDelay: cfg.DrainDelay,
		Logger: cfg.Logger, Metrics: cfg.Metrics,
	})
	return s
}

// Handle answers a request, which need not have come by the listener.
func (s *Server) Handle(ctx *fasthttp.RequestCtx) {
	started := time.Now()
	if p := s.answer(ctx, started); p != nil {
		s.refuse(ctx, p)
	}
	s.Metrics.Served(ctx.Response.StatusCode(), time.Since(started))
}

// answer serves one request, or returns why not.
func (s *Server) answer(ctx *fasthttp.RequestCtx, arrived time.Time) *problem.Problem {
	route, p := find(ctx)
	if p != nil {
		return p
	}
	caller, p := s.verify(ctx, arrived)
	if p != nil {
		return p
	}
	format, p := route.format(ctx.Request.Header.ContentType())
	if p != nil {
		return p
	}
	if route.batch {
		return s.batch(ctx, caller, route.limit(s.MaxBody), format)
	}
	return s.single(ctx, caller, route.limit(s.MaxBody))
}

func (s *Server) refuse(ctx *fasthttp.RequestCtx, p *problem.Problem) {
	p.RequestID = string(ctx.Request.Header.Peek("X-Request-Id"))
	s.Metrics.Refused(p.Code)
	serving.Linger(ctx)
	p.Write(&ctx.Response)
	if p.Code == problem.MethodNotAllowed {
		ctx.Response.Header.Set(fasthttp.HeaderAllow, fasthttp.MethodPost)
	}
}
