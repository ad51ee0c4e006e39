package forward

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// target is one upstream and the connections to it.
type target struct {
	f                *Forwarder
	name             string // as metrics and logs call it
	network, address string
	tls              *tls.Config // nil: plain

	failures atomic.Int32 // in a row
	outUntil atomic.Int64 // until when it sits out, Unix nanoseconds

	mu     sync.Mutex // held for a few instructions, never during a system call
	idle   []*conn    // the one used last at the end, and taken first: the others may grow old
	open   int        // connections idle, in use and being dialled
	closed bool
	sweep  *time.Timer // nil while nothing is idle
}

// get returns a connection for one exchange: an idle one, unless fresh is asked for. One that has been idle for too long
// is not used even if nobody has closed it yet: the upstream may be about to.
func (t *target) get(fresh bool) (*conn, error) {
	var c *conn
	now := time.Now()
	t.mu.Lock()
	if n := len(t.idle); n > 0 && now.Sub(t.idle[n-1].usedAt) > t.f.cfg.IdleTimeout {
		t.closeIdleLocked(n)
	}
	last, full := len(t.idle)-1, t.open >= t.f.cfg.MaxConns
	switch {
	case last >= 0 && (full || !fresh):
		c = t.idle[last]
		t.idle[last], t.idle = nil, t.idle[:last]
	case full:
		t.mu.Unlock()
		return nil, ErrBusy
	default:
		t.open++
	}
	t.mu.Unlock()
	if c != nil && !fresh {
		c.begin(now, true)
		return c, nil
	}
	if c != nil {
		c.Close() // to make room
	}
	c, err := t.dial()
	if err != nil {
		t.forget()
		t.f.metrics.dialFailures.WithLabelValues(t.name).Inc()
		return nil, fmt.Errorf("%w: %w", errConnecting, err)
	}
	c.begin(time.Now(), false)
	return c, nil
}

func (t *target) dial() (*conn, error) {
	ctx, cancel := context.WithTimeout(t.f.ctx, t.f.cfg.ConnectTimeout)
	defer cancel()
	socket, err := new(net.Dialer).DialContext(ctx, t.network, t.address)
	if err != nil || t.tls == nil {
		return newConn(socket, socket, t), err
	}
	secure := tls.Client(socket, t.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		socket.Close()
		return nil, fmt.Errorf("agreeing on TLS: %w", err)
	}
	return newConn(secure, socket, t), nil
}

// put takes a connection back after an exchange.
func (t *target) put(c *conn, reuse bool) {
	c.usedAt = time.Now()
	t.mu.Lock()
	if reuse = reuse && !t.closed; reuse {
		t.idle = append(t.idle, c)
		if t.sweep == nil {
			t.sweep = time.AfterFunc(t.f.cfg.IdleTimeout, t.closeOld)
		}
	}
	t.mu.Unlock()
	if !reuse {
		c.Close()
		t.forget()
	}
}

func (t *target) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open--
}

// closeOld closes what has been idle for too long, and comes back as long as something is idle.
func (t *target) closeOld() {
	timeout := t.f.cfg.IdleTimeout
	limit := time.Now().Add(-timeout)
	t.mu.Lock()
	young := slices.IndexFunc(t.idle, func(c *conn) bool { return c.usedAt.After(limit) })
	if t.sweep = nil; young >= 0 && !t.closed {
		t.sweep = time.AfterFunc(timeout/4, t.closeOld)
	}
	if young < 0 {
		young = len(t.idle)
	}
	t.closeIdleLocked(young)
	t.mu.Unlock()
}

// closeIdleLocked closes the n connections that have been idle for longest. That is the one system call under the lock.
func (t *target) closeIdleLocked(n int) {
	for _, c := range t.idle[:n] {
		c.Close()
	}
	t.idle, t.open = slices.Delete(t.idle, 0, n), t.open-n
}

func (t *target) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.closeIdleLocked(len(t.idle))
	if t.sweep != nil {
		t.sweep.Stop()
	}
}

func (t *target) counts() (idle, active int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.idle), t.open - len(t.idle)
}
