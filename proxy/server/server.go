// Package server is the proxy's data path: one request from its first byte to the upstream's answer.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/proxy/auth"
	"keygate/proxy/forward"
	"keygate/proxy/identity"
	"keygate/shared/listen"
	"keygate/shared/problem"
)

// Authenticator decides whether a presented key may pass. The decision aliases key.
type Authenticator interface {
	Resolve(ctx context.Context, key []byte) auth.Decision
}

// Forwarder sends one admitted request to its upstream and fills the response.
type Forwarder interface {
	Forward(ctx *fasthttp.RequestCtx, x *forward.Exchange) error
}

// Config is what a Server needs; all fields must be set, but for the ones that say otherwise.
type Config struct {
	Listen string // host:port or unix:PATH

	Auth    Authenticator
	Policy  *identity.Policy
	Forward Forwarder

	Public          []string // raw path prefixes that need no key; may be empty
	PublicPreflight bool     // CORS preflight requests need no key
	Timing          bool     // tell clients how long we took

	MaxBody       int64 // bytes; 0: no limit
	MaxHeader     int   // bytes of the request line and header section
	HeaderTimeout time.Duration
	IdleTimeout   time.Duration
	DrainDelay    time.Duration // how long to go on serving after the stop was asked for

	Logger  *slog.Logger
	Metrics *Metrics
}

// Server serves the edge listener.
type Server struct {
	Config
	public    public
	http      *fasthttp.Server
	listener  net.Listener
	exchanges exchangePool
	draining  atomic.Bool
}

// New returns a Server that does not listen yet.
func New(cfg Config) *Server {
	s := &Server{Config: cfg, public: public{paths: cfg.Public, preflight: cfg.PublicPreflight}}
	s.http = &fasthttp.Server{
		Handler:      s.serve,
		ErrorHandler: s.refuseUnparsed,
		Logger:       quiet{cfg.Logger},

		ReadBufferSize: cfg.MaxHeader,
		ReadTimeout:    cfg.HeaderTimeout,
		IdleTimeout:    cfg.IdleTimeout,

		StreamRequestBody:            true,
		MaxRequestBodySize:           bufferedBody,
		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		NoDefaultDate:                true,
		SecureErrorLogMessage:        true,
		CloseOnShutdown:              true,
	}
	return s
}

// Bodies up to 64 KiB are read before the upstream is asked, which is when they may be sent a second time.
const bufferedBody = 64 << 10

// Listen opens the listener, so that errors are known before anything is served.
func (s *Server) Listen() (err error) {
	s.listener, err = listen.Open(s.Config.Listen)
	return err
}

// Addr is where the server listens, once it does.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until ctx ends. Then it goes on for DrainDelay while asking clients to close, closes the listener, and
// returns when what was accepted has been answered.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving %s: %w", s.Config.Listen, err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	time.Sleep(s.DrainDelay)
	return errors.Join(s.http.Shutdown(), <-served)
}

// serve is the data path.
func (s *Server) serve(ctx *fasthttp.RequestCtx) {
	x := s.exchanges.acquire(ctx)
	defer s.exchanges.release(x)
	s.answer(x)
	s.finish(x)
}

func (s *Server) answer(x *exchange) {
	if p, ok := s.admit(x); !ok {
		s.refuse(x, p)
		return
	}
	if s.public.lets(x) {
		s.forward(x, auth.Principal{})
		return
	}
	key, err := s.Policy.Credential(x.lines)
	if err != nil {
		s.refuse(x, credentialProblem(err))
		return
	}
	decision := s.Auth.Resolve(context.Background(), key) // bounded by itself; a shutdown must not cut it off
	x.resolved = time.Now()
	if decision.Outcome() != auth.Allow {
		s.refuse(x, denial(decision))
		return
	}
	s.forward(x, decision.Principal)
}

func (s *Server) forward(x *exchange, who auth.Principal) {
	x.header = s.Policy.AppendHeader(x.header[:0], x.lines, x.vouch(who))
	err := s.Forward.Forward(x.ctx, &forward.Exchange{
		Header: x.header, Target: x.target, Upgrade: x.upgrade(),
	})
	if err != nil {
		s.refuse(x, forwardProblem(err))
	}
}

// finish is done for every answer, ours or the upstream's.
func (s *Server) finish(x *exchange) {
	if s.draining.Load() {
		x.ctx.SetConnectionClose()
	}
	took := time.Since(x.started)
	if s.Timing {
		x.tellTiming(took)
	}
	s.Metrics.served(x.ctx.Response.StatusCode(), took)
}

func (s *Server) refuse(x *exchange, p problem.Problem) {
	p.RequestID = string(x.requestID())
	s.Metrics.refused(p.Code)
	p.Write(&x.ctx.Response)
	if x.broken {
		x.ctx.SetConnectionClose()
	}
}
