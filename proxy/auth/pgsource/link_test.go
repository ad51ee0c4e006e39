package pgsource_test

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
)

// link forwards connections to a server, until it is frozen: then they stay open and nothing passes. It can be frozen for
// new connections alone, and refuse them.
type link struct {
	url    string
	target string

	silent, refusing atomic.Bool
	refused          atomic.Int64

	mu      sync.Mutex
	passing chan struct{} // closed while bytes may pass
}

func newLink(tb testing.TB, url string) *link {
	tb.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		tb.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	l := &link{
		url:     fmt.Sprintf("postgres://%s@%s/%s", config.User, listener.Addr(), config.Database),
		target:  net.JoinHostPort(config.Host, fmt.Sprint(config.Port)),
		passing: make(chan struct{}),
	}
	close(l.passing)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { l.forward(tb, client) })
		}
	})
	tb.Cleanup(func() {
		listener.Close()
		l.thaw()
		all.Wait()
	})
	return l
}

func (l *link) forward(tb testing.TB, client net.Conn) {
	defer client.Close()
	if l.refusing.Load() {
		l.refused.Add(1)
		return
	}
	if l.silent.Load() {
		_, _ = io.Copy(io.Discard, client)
		return
	}
	server, err := net.Dial("tcp", l.target)
	if err != nil {
		return
	}
	defer server.Close()
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
		go func() {
			defer func() { done <- struct{}{} }()
			io.Copy(gated{pair[1], l}, pair[0])
		}()
	}
	<-done
	client.Close()
	server.Close()
	<-done
}

// gated writes when its link lets it.
type gated struct {
	net.Conn
	link *link
}

func (g gated) Write(p []byte) (int, error) {
	g.link.mu.Lock()
	open := g.link.passing
	g.link.mu.Unlock()
	<-open
	return g.Conn.Write(p)
}

func (l *link) freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passing = make(chan struct{})
}

func (l *link) thaw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.passing:
	default:
		close(l.passing)
	}
}
