package auth

import (
	"sync/atomic"
	"time"
)

// clock tells three times in Unix milliseconds: this process's steady clock, which steps of the wall clock do not move
// and copies in memory are aged by; the wall clock, which keys expire by; and the shared cache's clock, which records
// are aged by, kept as an offset from the steady one.
type clock struct {
	start  time.Time
	offset atomic.Int64 // shared minus steady, from the last answer of the shared cache; 0 without one
	trip   atomic.Int64 // how long that answer took: the offset may be greater by as much

	probes int64 // the offset at the last probe; 0 before the first; the probing goroutine's
}

func newClock() *clock { return &clock{start: time.Now()} }

func (c *clock) steady(now time.Time) int64 {
	return c.start.UnixMilli() + now.Sub(c.start).Milliseconds()
}

func (c *clock) shared(now time.Time) int64 { return c.steady(now) + c.offset.Load() }

const (
	// An answer that took longer tells little about the present: this process may have been stopped meanwhile.
	maxTrip = 250 * time.Millisecond
	// Two clocks that are looked at every second do not drift apart by a second.
	clockJump = time.Second
)

// heard keeps what the shared cache said its time was, between two moments.
func (c *clock) heard(shared int64, asked, answered time.Time) {
	if trip := answered.Sub(asked); trip <= maxTrip {
		c.offset.Store(shared - c.steady(answered))
		c.trip.Store(trip.Milliseconds())
	}
}

// probed is heard for a question that goes to the same server each time, and says by how much the clocks have moved
// apart since the last one: another machine answers now, its clock was set, or ours was suspended, steady clock and all.
func (c *clock) probed(shared int64, asked, answered time.Time) time.Duration {
	if answered.Sub(asked) > maxTrip {
		return 0
	}
	c.heard(shared, asked, answered)
	before := c.probes
	c.probes = shared - c.steady(answered)
	if before == 0 {
		return 0
	}
	return time.Duration(max(before-c.probes, c.probes-before)) * time.Millisecond
}

// toSteady converts a time of a record, to the latest that it can have been.
func (c *clock) toSteady(shared int64) int64 { return shared - c.offset.Load() }

// earliest converts a time of a record, to the earliest that it can have been.
func (c *clock) earliest(shared int64) int64 { return c.toSteady(shared) - c.trip.Load() }
