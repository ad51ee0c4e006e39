package fastpath

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"keygate/proxy/auth"
	"keygate/proxy/forward"
	"keygate/shared/listen"
	"keygate/shared/socket"
)

// client is a connection of a client. It is with its loop, or with the goroutine of who has accepted it.
type client struct {
	net.Conn
	loop *loop
	fd   int
	peer netip.Addr

	// With the loop.
	flight *flight   // nil: a request is awaited
	query  bool      // the key of a request is being looked up
	asked  bool      // this is not the first one
	more   bool      // something may have come that has not been read
	until  time.Time // when what is awaited is late

	// With a goroutine.
	head  []byte // what has been read of the connection, to be read again
	late  bool   // nothing has come in time
	begun atomic.Pointer[forward.Begun]

	decision *auth.Decision // about the first request's key; nil: there is none
}

var errNoSocket = errors.New("the connection is no socket")

func newClient(nc net.Conn, l *loop) (*client, error) {
	c := &client{Conn: nc, loop: l, peer: listen.Peer(nc)}
	inner, ok := socket.Within[syscall.Conn](nc)
	if !ok {
		return nil, errNoSocket
	}
	raw, err := inner.SyscallConn()
	if err != nil {
		return nil, err
	}
	return c, raw.Control(func(fd uintptr) { c.fd = int(fd) })
}

// adopt gives the connection to its loop, which awaits a request for so long.
func (c *client) adopt(patience time.Duration) {
	c.until = time.Now().Add(patience)
	if c.loop.poller.Add(c.fd, c) != nil {
		c.Conn.Close()
	}
}

// GiveBack returns an accepted connection, on which nothing is under way, instead of closing it.
func (c *client) GiveBack() { c.adopt(c.loop.listener.cfg.IdleTimeout) }

// Close also closes the upstream's connection of an exchange that nobody goes on with.
func (c *client) Close() error {
	if begun := c.begun.Swap(nil); begun != nil {
		begun.Up.Release(false)
	}
	return c.Conn.Close()
}

// NetConn is the connection itself, as of a tls.Conn.
func (c *client) NetConn() net.Conn { return c.Conn }

// CloseWrite ends what is sent; what is received goes on.
func (c *client) CloseWrite() error { return socket.CloseWrite(c.Conn) }

// Read begins with what the loop has read.
func (c *client) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		if c.head = c.head[n:]; len(c.head) == 0 {
			c.head = nil // or an idle connection would keep it
		}
		return n, nil
	}
	if c.late {
		return 0, os.ErrDeadlineExceeded
	}
	return c.Conn.Read(p)
}

// Begun returns, once, what the loop has done for the request that an accepted connection begins with: what it has decided
// about the key, and the attempt that it has made. Either is nil if it has not. It is to be asked with the first request: a
// decision says nothing about the next one's key. Whoever takes the attempt owns it.
func Begun(nc net.Conn) (decided *auth.Decision, attempt *forward.Begun) {
	if c, ok := socket.Within[*client](nc); ok {
		decided, c.decision = c.decision, nil
		attempt = c.begun.Swap(nil)
	}
	return decided, attempt
}

// shut closes a connection that is with the loop.
func (c *client) shut() {
	c.withdraw()
	c.Conn.Close()
}

// Readable implements poll.Handler.
func (c *client) Readable(ended bool) {
	if c.flight != nil || c.query {
		c.more = true
		return
	}
	n, err := socket.Read(uintptr(c.fd), c.loop.in)
	c.more = ended || n == len(c.loop.in) // which is read once the request before it is answered
	switch {
	case err == syscall.EAGAIN:
	case err != nil || n == 0:
		c.shut()
	case !c.loop.depart(c, c.loop.in[:n]):
		c.handOver(c.loop.in[:n])
	}
}

// handOver has a goroutine serve what was read.
func (c *client) handOver(read []byte) {
	c.loop.listener.cfg.Metrics.handedOver.Inc()
	c.lend(read, nil)
}

// handOverDecided does so once it is decided about the key.
func (c *client) handOverDecided(read []byte, d auth.Decision) {
	d.Principal.Prefix = bytes.Clone(d.Principal.Prefix)
	c.decision = &d
	c.handOver(read)
}

// lend has the connection accepted, with what was read of it.
func (c *client) lend(read []byte, begun *forward.Begun) {
	c.withdraw()
	c.head = bytes.Clone(read)
	c.begun.Store(begun)
	if !c.loop.listener.queue.push(c) {
		c.Close()
	}
}

// withdraw ends the time with the loop, which may come again.
func (c *client) withdraw() {
	c.loop.poller.Remove(c.fd)
	c.flight, c.query, c.more, c.asked = nil, false, false, true
}

// answer writes an answer and awaits the next request.
func (c *client) answer(text []byte) {
	c.asked = true
	n, err := socket.Write(uintptr(c.fd), text)
	switch {
	case n == len(text):
		c.until = c.loop.now.Add(c.loop.listener.cfg.IdleTimeout)
		if c.more {
			c.loop.again = append(c.loop.again, c)
		}
	case err == nil || err == syscall.EAGAIN:
		c.withdraw()
		c.loop.listener.settle(c, bytes.Clone(text[max(n, 0):]))
	default:
		c.shut()
	}
}
