// Package admin serves the operator's side of a program on a listener of its own: health, metrics, figures,
// profiles, and what the program adds.
//
// Four routes are open to whoever can connect: /healthz, /readyz, /metrics and /version. The others want the admin
// token. Without a token they exist only on a loopback address or a unix socket, where they refuse what a browser may
// have been talked into sending. Trouble on this side never stops the data path: handlers that panic answer 503.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"keygate/shared/build"
	"keygate/shared/listen"
)

const (
	// readTimeout covers a whole request, body included; the largest is a list of 10,000 prefixes.
	readTimeout = 10 * time.Second
	// writeTimeout counts from the end of a handler, so that a profile may take any time to record. A trace of tens
	// of megabytes has to get through it.
	writeTimeout = time.Minute
	idleTimeout  = time.Minute

	maxHeader = 8 << 10
	maxBody   = 4 << 20 // 10,000 prefixes of 400 bytes
	// maxConnections is far above what scrapers, probes and a few people open, and too few to hurt the data path.
	maxConnections = 256

	// shutdownGrace is how long exchanges in flight may go on after Run's context ended.
	shutdownGrace = 2 * time.Second
)

// Config says what to serve and to whom.
type Config struct {
	Program string // names the program on the status page: "proxy"
	Listen  string // host:port, or unix:PATH
	Token   string // what callers present as bearer; empty for none

	// Ready says whether requests are welcome, and what works only in part. It is asked for each probe.
	Ready    func() (ok bool, degraded []string)
	Gatherer prometheus.Gatherer
	// Stats returns the figures of /v1/stats, which encoding/json can write; status.go says how the page shows them.
	Stats func() any
	// Headline lists the figures at the top of the status page, as paths into Stats: "request_seconds.p99".
	Headline []string

	Build  build.Details
	Logger *slog.Logger
}

// Server is one admin listener.
type Server struct {
	config Config
	guard  guard
	routes routes
	http   fasthttp.Server
	conns  conns
	ln     net.Listener // set by Listen
}

// New returns a server with the routes that every program has.
func New(config Config) *Server {
	s := &Server{config: config, guard: guard{digest: digestOf(config.Token), tokened: config.Token != ""}}
	s.http = fasthttp.Server{
		Handler:      s.handle,
		ErrorHandler: refuseMalformed,
		ConnState:    s.conns.track,
		Logger:       silence{},

		ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		ReadBufferSize: maxHeader, MaxRequestBodySize: maxBody, Concurrency: maxConnections,

		SecureErrorLogMessage: true, NoDefaultServerHeader: true, NoDefaultContentType: true,
		DisablePreParseMultipartForm: true, CloseOnShutdown: true, TCPKeepalive: true,
	}
	s.addOpenRoutes()
	s.addFigures()
	return s
}

// Listen binds the address, so that Addr is known and a bad one is an error before anything else starts.
func (s *Server) Listen() error {
	ln, err := listen.Open(s.config.Listen)
	if err != nil {
		return fmt.Errorf("opening the admin listener: %w", err)
	}
	s.ln, s.guard.local = listen.Patient(ln, s.config.Logger), isLocal(ln.Addr())
	return nil
}

// Addr is what Listen bound.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Run serves until ctx ends or the listener is closed, then gives exchanges in flight two seconds and returns when
// the last connection is gone. It needs Listen before it and is called once.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.ln) }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		s.Close()
		err = <-served
	}
	s.drain()
	if err != nil {
		return fmt.Errorf("serving the admin listener: %w", err)
	}
	return nil
}

// drain waits for the exchanges in flight, and cuts what outlasts the grace.
func (s *Server) drain() {
	idle := make(chan struct{})
	go func() {
		s.http.Shutdown() // its error is that Close was here before it
		close(idle)
	}()
	grace := time.NewTimer(shutdownGrace)
	defer grace.Stop()
	select {
	case <-idle:
	case <-grace.C:
		s.conns.closeAll()
		<-idle
	}
}

// Close closes the listener, which ends Run; Run waits for the connections. It may be called at any time.
func (s *Server) Close() error {
	if s.ln == nil {
		return nil
	}
	if err := s.ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing the admin listener: %w", err)
	}
	return nil
}

// conns are the connections that are open.
type conns struct {
	mu   sync.Mutex // held for a map operation, but by closeAll for all
	open map[net.Conn]struct{}
}

func (c *conns) track(conn net.Conn, state fasthttp.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case fasthttp.StateNew:
		if c.open == nil {
			c.open = make(map[net.Conn]struct{})
		}
		c.open[conn] = struct{}{}
	case fasthttp.StateClosed, fasthttp.StateHijacked:
		delete(c.open, conn)
	}
}

func (c *conns) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		conn.Close()
	}
}

// silence takes what fasthttp says of single connections: it quotes header lines, and so keys, even with
// SecureErrorLogMessage (v1.78: a line without a colon). Clients get their answer all the same.
type silence struct{}

func (silence) Printf(string, ...any) {}
