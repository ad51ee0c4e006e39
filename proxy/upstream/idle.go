package upstream

import (
	"bytes"
	"io"
	"slices"
	"time"

	"keygate/shared/socket"
)

// nearest is how many idle connections are looked at for one that the asker watches already. With 8, loops that release
// and take a batch at a time found none of theirs, and to change who watches takes two system calls, 2 of 42 µs a request.
const nearest = 256

// idleConn has beside a connection who watches it, so that a search need not touch the others.
type idleConn struct {
	*Conn
	watcher any
}

// Idle returns an idle connection to the least busy upstream, if possible one that is watched by watcher, and nil if
// there is none or it speaks TLS. It has no reader: Start, Receive and Resume go without one. It never waits.
func (g *Group) Idle(watcher any, now time.Time) *Conn {
	t := g.pick(nil)
	if t.tls == nil {
		if c := t.takeIdle(watcher, now); c != nil {
			c.begin(now, true)
			c.group = g
			return c
		}
	}
	g.turn.Add(^uint32(0)) // that upstream's turn comes again with Get
	return nil
}

func (t *target) takeIdle(watcher any, now time.Time) *Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closeStaleLocked(now)
	last := len(t.idle) - 1
	if last < 0 {
		return nil
	}
	at := last
	for k := last; k >= 0 && k > last-nearest; k-- {
		if t.idle[k].watcher == watcher && now.Sub(t.idle[k].usedAt) <= t.set.cfg.IdleTimeout {
			at = k
			break
		}
	}
	c := t.idle[at].Conn
	t.idle = slices.Delete(t.idle, at, at+1)
	return c
}

// FD is the connection's descriptor, for whoever watches it. It is valid until the connection is released.
func (c *Conn) FD() int { return int(c.fd) }

// Start sends as much of a request as the socket takes at once. ErrStale says that nothing was sent, because the
// connection is no longer good; another error shows again when the rest is written.
func (c *Conn) Start(request []byte) (sent int, err error) {
	var scratch [1]byte
	if c.Reused && !quiet(c.fd, scratch[:]) {
		return 0, ErrStale
	}
	sent, _ = socket.Write(c.fd, request)
	c.Sent = sent > 0
	return sent, nil
}

// Receive reads what has come of the answer, and fails with EAGAIN if nothing has.
func (c *Conn) Receive(p []byte) (int, error) {
	n, err := socket.Read(c.fd, p)
	if err == nil && n == 0 {
		err = io.EOF
	}
	c.Answered = c.Answered || n > 0
	return n, err
}

// Resume has the connection go on with a reader, which begins with what was received. Until then the rest of the request is
// to be sent and the answer to come.
func (c *Conn) Resume(received []byte, until time.Time) {
	c.unread = bytes.Clone(received)
	c.read()
	_ = c.Wait(until)
	_ = c.SetWriteDeadline(until)
}
