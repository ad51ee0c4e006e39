// Package link is a stretch of network in front of a server, which can be made to fail in the ways that networks do.
package link

import (
	"maps"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"
)

// Mode is what a link does to bytes and connections.
type Mode int

// The modes.
const (
	Passes     Mode = iota
	Refuses         // connections are reset, new ones as well
	RefusesNew      // those that are open pass
	Holds           // nothing passes, and nothing is closed, as when a cable is pulled
	HoldsNew        // those that are open pass
	Dribbles        // a few bytes at a time
	Loses           // an answer that has been given in full is dropped, and its connection reset
	Delays          // each way takes so long
)

// Link is a link. All methods are safe for concurrent use.
type Link struct {
	server   string
	ends     func(chunk []byte) bool
	listener *net.TCPListener
	all      sync.WaitGroup

	mu      sync.Mutex
	mode    Mode
	delay   time.Duration
	changed chan struct{} // closed when mode changes
	conns   map[*net.TCPConn]struct{}
	lost    int // answers
	refused int // connections
}

// New returns a link to a server, which need not run. ends says whether a chunk from the server is the end of an answer;
// nil will do for a link that loses none.
func New(server string, ends func(chunk []byte) bool) (*Link, error) {
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	l := &Link{
		server: server, ends: ends, listener: listener,
		changed: make(chan struct{}), conns: make(map[*net.TCPConn]struct{}),
	}
	l.all.Go(l.serve)
	return l, nil
}

// Start returns a link that is gone when the test ends.
func Start(tb testing.TB, server string, ends func(chunk []byte) bool) *Link {
	tb.Helper()
	l, err := New(server, ends)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(l.Close)
	return l
}

// StartTo is Start for the server of a URL, and returns the URL that leads over the link.
func StartTo(tb testing.TB, serverURL string, ends func(chunk []byte) bool) (l *Link, linked string) {
	tb.Helper()
	parsed, err := url.Parse(serverURL)
	if err != nil {
		tb.Fatal(err)
	}
	l = Start(tb, parsed.Host, ends)
	parsed.Host = l.Addr()
	return l, parsed.String()
}

// Addr is where to connect instead of the server.
func (l *Link) Addr() string { return l.listener.Addr().String() }

// Close ends all connections.
func (l *Link) Close() {
	l.listener.Close()
	l.Set(Refuses)
	l.all.Wait()
}

// Set changes what the link does. Connections live on, but for a link that refuses them.
func (l *Link) Set(m Mode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mode = m
	close(l.changed)
	l.changed = make(chan struct{})
	if m == Refuses {
		l.resetLocked()
	}
}

// Slow makes each way take so long.
func (l *Link) Slow(delay time.Duration) {
	l.mu.Lock()
	l.delay = delay
	l.mu.Unlock()
	l.Set(Delays)
}

// Reset ends all connections as a network does that has forgotten them.
func (l *Link) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resetLocked()
}

func (l *Link) resetLocked() { reset(slices.Collect(maps.Keys(l.conns))...) }

// reset makes sure first that whoever closes one of them, because another one was, resets it.
func reset(conns ...*net.TCPConn) {
	for _, conn := range conns {
		_ = conn.SetLinger(0)
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
}

// AnswersLost is how many answers were dropped.
func (l *Link) AnswersLost() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Refused is how many new connections were reset.
func (l *Link) Refused() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}
