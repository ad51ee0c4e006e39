package redisstore

import (
	"sync"
	"time"
)

const (
	// Five look-ups in a row that had to wait for their deadline are an outage, and not one lost packet or a pause
	// for garbage.
	breakerFailures = 5
	// While the breaker is open, one look-up in this time pays the deadline to see whether Redis is back.
	breakerPause = 250 * time.Millisecond
)

// breaker spares requests the deadline while Redis does not answer. Safe for concurrent use.
type breaker struct {
	changed func(open bool) // called for each change, in order, and so under the lock: it must be quick

	mu       sync.Mutex
	failures int       // in a row
	answered time.Time // when a call that did last was
	open     bool
	probeAt  time.Time // when open: the next call that is let through
}

// allow says whether Redis may be asked. While the breaker is open it lets one caller through at a time, to probe.
func (b *breaker) allow(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return true
	}
	if now.Before(b.probeAt) {
		return false
	}
	b.probeAt = now.Add(breakerPause)
	return true
}

// report tells how an allowed call ended that began at a moment. If another has been answered since, Redis is busy, or this
// machine is, and not away.
func (b *breaker) report(answered bool, began, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case answered:
		b.failures, b.answered = 0, now
		b.setLocked(false)
	case began.Before(b.answered):
	default:
		if b.failures++; b.failures >= breakerFailures {
			b.probeAt = now.Add(breakerPause)
			b.setLocked(true)
		}
	}
}

func (b *breaker) healthy() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.open
}

func (b *breaker) setLocked(open bool) {
	if b.open == open {
		return
	}
	b.open = open
	b.changed(open)
}
