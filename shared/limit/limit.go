// Package limit bounds how many connections of a listener are open at once, in all and for one address.
//
// A connection takes a file descriptor and memory from the moment that it is accepted, whatever its client then does.
// So it is counted there, before a handshake and before a request, and is refused there too: a flood of them costs an
// accept and a close each, and no goroutine.
package limit

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"keygate/shared/listen"
	"keygate/shared/socket"
)

// Config says what to allow. All fields must be set, but for the ones that say otherwise.
type Config struct {
	Total      int    // connections open at once; 0: as many as Total says of those that open nothing
	PerAddress int    // of them from one address, an IPv6 network of 64 bits counting as one; 0: no limit
	Answer     []byte // what those get that are refused, before they are closed; nil: nothing

	Logger  *slog.Logger
	Metrics *Metrics
}

// Listener is a listener whose connections are counted until they are closed.
type Listener struct {
	net.Listener
	config Config

	full, crowded refusal // of the goroutine that accepts

	mu        sync.Mutex // held for moments
	open      int
	addresses map[netip.Addr]int // open connections of each; empty without Config.PerAddress
}

// New bounds a listener. It is an error to allow more connections than the process has file descriptors for.
func New(inner net.Listener, cfg Config) (*Listener, error) {
	total, err := Total(cfg.Total, 0)
	if err != nil {
		return nil, err
	}
	cfg.Total = total
	return &Listener{Listener: inner, config: cfg, addresses: map[netip.Addr]int{}}, nil
}

// Accept returns the next connection that there is room for. It is to be called by one goroutine at a time.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := source(c)
		limit := l.take(from)
		l.full.seen(l, limit == total, from)
		l.crowded.seen(l, limit == address, from)
		if limit == none {
			return &conn{Conn: c, listener: l, from: from}, nil
		}
		l.config.Metrics.refused[limit].Inc()
		_, _ = c.Write(l.config.Answer) // a new connection's buffer has room for it: this never waits
		_ = c.Close()
	}
}

// source is what connections are counted by: zero for Unix sockets, which have no address.
func source(c net.Conn) netip.Addr {
	from := listen.Peer(c)
	if network, err := from.Prefix(64); err == nil && from.Is6() {
		return network.Addr()
	}
	return from
}

// take makes room for a connection, or says which limit there is none under.
func (l *Listener) take(from netip.Addr) kind {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.config.Total {
		return total
	}
	if l.config.PerAddress > 0 && from.IsValid() {
		if l.addresses[from] >= l.config.PerAddress {
			return address
		}
		l.addresses[from]++
	}
	l.open++
	l.config.Metrics.open.Inc()
	return none
}

func (l *Listener) give(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	l.config.Metrics.open.Dec()
	if l.config.PerAddress == 0 || !from.IsValid() {
		return
	}
	if l.addresses[from]--; l.addresses[from] == 0 {
		delete(l.addresses, from)
	}
}

// conn gives its place back when it is closed.
type conn struct {
	net.Conn
	listener *Listener
	from     netip.Addr
	closed   atomic.Bool
}

// NetConn is the connection itself, as of a tls.Conn.
func (c *conn) NetConn() net.Conn { return c.Conn }

// CloseWrite ends what is sent; what is received goes on.
func (c *conn) CloseWrite() error { return socket.CloseWrite(c.Conn) }

func (c *conn) Close() error {
	err := c.Conn.Close()
	if !c.closed.Swap(true) {
		c.listener.give(c.from)
	}
	return err
}
