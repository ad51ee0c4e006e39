package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"

	proxyapp "keygate/proxy/app"
	proxyconfig "keygate/proxy/config"
	"keygate/shared/logging"
	writerapp "keygate/writer/app"
	writerconfig "keygate/writer/config"
)

// stack is a proxy with a writer behind it.
type stack struct {
	dataDir string
	proxy   proxyconfig.Config
	writer  writerconfig.Config
	demoKey string // "" on a database that is not our own
}

func newStack() *stack {
	return &stack{dataDir: "./data", proxy: proxyconfig.Default(), writer: writerconfig.Default()}
}

// run serves until ctx ends.
func (s *stack) run(ctx context.Context, out io.Writer) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	writer, err := s.openWriter(ctx)
	if err != nil {
		return err
	}
	proxy, err := s.openProxy(ctx, writer)
	if err != nil {
		return errors.Join(err, writer.Close())
	}
	s.greet(out, proxy, writer)
	return runBoth(ctx, proxy, writer)
}

// runBoth stops the proxy first, so that the writer answers whatever the proxy has accepted.
func runBoth(ctx context.Context, proxy *proxyapp.App, writer *writerapp.App) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	behind, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	wrote := make(chan error, 1)
	go func() {
		wrote <- writer.Run(behind)
		cancel()
	}()
	err := proxy.Run(ctx)
	stop()
	return errors.Join(err, <-wrote)
}

func (s *stack) openWriter(ctx context.Context) (*writerapp.App, error) {
	log, err := newLog(s.writer.LogLevel, s.writer.LogFormat, "writer")
	if err != nil {
		return nil, err
	}
	return writerapp.Open(ctx, s.writer, log, true)
}

// openProxy opens the proxy in front of the writer, unless it was told of another upstream. What it holds anyway it hands
// over in the process; the rest, large bodies, goes over the writer's listener.
func (s *stack) openProxy(ctx context.Context, writer *writerapp.App) (*proxyapp.App, error) {
	log, err := newLog(s.proxy.Log.Level, s.proxy.Log.Format, "proxy")
	if err != nil {
		return nil, err
	}
	if given := strings.Join(s.proxy.Upstream.URLs, ","); given == strings.Join(proxyconfig.Default().Upstream.URLs, ",") {
		s.proxy.Upstream.URLs, s.proxy.Upstream.Local = []string{url("http", writer.Addr())}, writer.Handle
		s.proxy.Upstream.Idempotent = []string{"/"}
	}
	return proxyapp.Open(ctx, s.proxy, log, true)
}

// reachable replaces an address that means every interface by one that can be connected to.
func reachable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", tcp.Port)
	}
	return addr.String()
}

func newLog(level, format, program string) (*slog.Logger, error) {
	log, err := logging.New(level, format, os.Stderr)
	if err != nil {
		return nil, err
	}
	return log.With("program", program), nil
}
