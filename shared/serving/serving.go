// Package serving runs a fasthttp server from its listener to its drain, with the settings that both programs need.
package serving

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/shared/certificate"
)

// Config says what to serve. All fields must be set, but Shared, Limits, TLS, Front and DrainDelay.
type Config struct {
	Listen string // host:port or unix:PATH
	Shared bool   // other processes may listen there, too: listen.OpenShared
	Limits Limits
	TLS    *certificate.Keeper // nil: none

	// Front, unless nil, serves a part of the requests by itself, and gives the others to this server: connections of its
	// Accept that have a method GiveBack are given back when one or more requests have been answered and none is under way.
	// Where it fails with ErrUnsupported, this server serves all.
	Front func(inner net.Listener) (Front, error)

	Handler fasthttp.RequestHandler
	// Refuse answers what the HTTP parser gave up on; the connection is closed afterwards.
	Refuse func(ctx *fasthttp.RequestCtx, err error)

	// Expect, unless nil, is asked about a request with Expect: 100-continue before any of its body is read. 100 has the
	// client send it, and Handler called; any other status ends the connection with the response that Expect has filled in.
	Expect func(ctx *fasthttp.RequestCtx) (status int)

	// IgnoreBody says that answers depend on the header alone: no body is waited for, and a request that announces one is
	// the last of its connection, because whether and when it comes is not looked at.
	IgnoreBody bool

	// Early has Handler called when the first byte of a body has come. Else it is called when 8 KiB have, or all of it.
	Early bool

	// Origin says that answers are this program's own, and so carry a Date; a proxy passes on the upstream's.
	Origin bool

	MaxHeader   int           // bytes of the request line and header section
	ReadTimeout time.Duration // of a header, and of what is read of a body before the handler runs
	IdleTimeout time.Duration // between two requests, and of a client that takes nothing of its answer
	DrainDelay  time.Duration // how long to go on serving after the stop was asked for
	Logger      *slog.Logger
	Metrics     *Metrics
}

// Front is a listener that serves requests itself. After Drain it gives all of them to whoever accepts. Settle waits, after
// Close, until its own answers have been taken, and cuts them off when ctx ends.
type Front interface {
	net.Listener
	Drain()
	Settle(ctx context.Context)
}

// Server serves one listener.
type Server struct {
	config   Config
	http     *fasthttp.Server
	listener net.Listener
	front    Front // nil: none
	draining atomic.Bool
}

// Of a body with a Content-Length, fasthttp reads up to 8 KiB before the handler runs; the rest is a stream. It also takes
// this size as how much of a body to hold when asked for all of it.
const bufferedBody = 64 << 10

// New returns a Server that does not listen yet.
func New(config Config) *Server {
	s := &Server{config: config}
	s.http = &fasthttp.Server{
		Handler:      s.serve,
		ErrorHandler: config.Refuse,

		ExpectHandler: config.Expect, // ContinueHandler would leave a refused body to be taken for requests
		Logger:        quiet{config.Logger},
		ConnState:     stateChanged,

		ReadBufferSize: config.MaxHeader,
		ReadTimeout:    config.ReadTimeout,
		IdleTimeout:    config.IdleTimeout,

		StreamRequestBody:            true,
		MaxRequestBodySize:           bufferedBody,
		Concurrency:                  math.MaxInt32, // the listener has its own limits
		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		NoDefaultDate:                !config.Origin,
		SecureErrorLogMessage:        true,
		CloseOnShutdown:              true,
	}
	if config.Early {
		s.http.MaxRequestBodySize = 1
	}
	if config.IgnoreBody {
		s.http.HeaderReceived = withoutBody
	}
	return s
}

// Listen opens the listener, so that errors are known before anything is served.
func (s *Server) Listen() (err error) {
	if s.listener, err = s.config.open(); err != nil || s.config.Front == nil {
		return err
	}
	switch s.front, err = s.config.Front(s.listener); {
	case errors.Is(err, errors.ErrUnsupported): // then this server serves everything
		return nil
	case err != nil:
		return errors.Join(err, s.listener.Close())
	}
	s.listener = s.front
	return nil
}

// Addr is where the server listens, once it does.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close closes the listener. A server that runs ends with an error.
func (s *Server) Close() error {
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing the listener on %s: %w", s.config.Listen, err)
	}
	return nil
}

// Run serves until ctx ends. Then it goes on for DrainDelay while asking clients to close, closes the listener, and
// returns when what was accepted has been answered, at most 25 seconds later.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(wrapping{s.listener, s.config.IdleTimeout}) }()
	select {
	case err := <-served:
		return errors.Join(fmt.Errorf("the listener on %s has ended", s.config.Listen), err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	if s.front != nil {
		s.front.Drain()
	}
	time.Sleep(s.config.DrainDelay)
	// Closing the listener first makes sure that Serve had taken it: Shutdown would not wait for anything before that.
	err := errors.Join(s.Close(), <-served)
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainLimit)
	defer cancel()
	switch late := s.http.ShutdownWithContext(limited); {
	case errors.Is(late, context.DeadlineExceeded):
		s.config.Logger.Warn("cutting off what was not answered in time", "limit", drainLimit)
	case late != nil && !errors.Is(late, net.ErrClosed):
		err = errors.Join(err, late)
	}
	if s.front != nil {
		s.front.Settle(limited)
	}
	return err
}

// Orchestrators kill a program about half a minute after they have asked it to stop. What streams without end must not
// make that the rule.
const drainLimit = 25 * time.Second

func (s *Server) serve(ctx *fasthttp.RequestCtx) {
	s.config.Handler(ctx)
	if s.config.IgnoreBody {
		Linger(ctx)
	}
	if !ctx.Hijacked() {
		if s.draining.Load() {
			ctx.SetConnectionClose()
		}
		return
	}
	// A connection that was taken over has its own way to end, and its header is its own. What comes after a switch is no
	// request; an answer that is merely written by other hands may still be reading the request's body.
	if c, ok := ctx.Conn().(*conn); ok && ctx.Response.StatusCode() == fasthttp.StatusSwitchingProtocols {
		c.switched = true
	}
}

// withoutBody lets the HTTP server believe that there is no body. Of one that it knows of it would read up to 8 KiB before
// the handler runs, or ask for it by 100 Continue, and some clients announce one that they never send.
func withoutBody(head *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if length := head.ContentLength(); length > 0 || length == chunked {
		head.SetConnectionClose()
	}
	head.SetContentLength(0)
	head.Del(fasthttp.HeaderExpect)
	return fasthttp.RequestConfig{}
}

// chunked is what fasthttp gives as the length of a body in chunks.
const chunked = -1

// quiet drops what the HTTP server prints about single connections: it may quote a client's bytes, keys among them.
// What went wrong is counted by code instead.
type quiet struct{ logger *slog.Logger }

func (q quiet) Printf(string, ...any) { q.logger.Debug("a connection ended with an error") }

// IsTimeout says whether a request did not arrive in time.
func IsTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// IsHeaderTooLarge says whether a request line and header section were larger than Config.MaxHeader.
func IsHeaderTooLarge(err error) bool {
	_, ok := errors.AsType[*fasthttp.ErrSmallBuffer](err)
	return ok
}
