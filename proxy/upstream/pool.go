package upstream

import (
	"fmt"
	"slices"
	"time"
)

// get returns a connection for one exchange.
func (t *target) get(fresh bool) (*Conn, error) {
	now := time.Now()
	c, err := t.take(fresh, now)
	if err != nil {
		return nil, err
	}
	reused := c != nil
	if !reused {
		if c, err = t.dial(); err != nil {
			t.forget()
			t.set.metrics.dialFailures.WithLabelValues(t.name).Inc()
			return nil, fmt.Errorf("%w: connecting: %w", ErrUnreachable, err)
		}
		now = time.Now()
	}
	c.begin(now, reused)
	c.read()
	return c, nil
}

// take returns an idle connection, or nil if one is to be opened, which counts from now on.
func (t *target) take(fresh bool, now time.Time) (*Conn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closeStaleLocked(now)
	full := t.open >= t.set.cfg.MaxConns
	if last := len(t.idle) - 1; last >= 0 && (full || !fresh) {
		c := t.idle[last].Conn
		t.idle[last], t.idle = idleConn{}, t.idle[:last]
		return c, nil
	}
	if full {
		return nil, ErrBusy
	}
	t.open++
	return nil, nil
}

// closeStaleLocked closes all idle connections if the one used last has been idle for too long, and nobody has closed it
// yet: the upstream may be about to.
func (t *target) closeStaleLocked(now time.Time) {
	if n := len(t.idle); n > 0 && now.Sub(t.idle[n-1].usedAt) > t.set.cfg.IdleTimeout {
		t.closeIdleLocked(n)
	}
}

// put takes a connection back after an exchange.
func (t *target) put(c *Conn, reuse bool) {
	c.usedAt = time.Now()
	t.mu.Lock()
	if reuse = reuse && !t.closed; reuse {
		t.idle = append(t.idle, idleConn{c, c.Watcher})
		if t.sweep == nil {
			t.sweep = time.AfterFunc(t.set.cfg.IdleTimeout, t.closeOld)
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
	timeout := t.set.cfg.IdleTimeout
	limit := time.Now().Add(-timeout)
	t.mu.Lock()
	defer t.mu.Unlock()
	old := slices.IndexFunc(t.idle, func(c idleConn) bool { return c.usedAt.After(limit) })
	if old < 0 {
		old = len(t.idle)
	}
	t.closeIdleLocked(old)
	if t.sweep = nil; len(t.idle) > 0 {
		t.sweep = time.AfterFunc(timeout/4, t.closeOld)
	}
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
