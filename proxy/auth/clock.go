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
}

func newClock() *clock { return &clock{start: time.Now()} }

func (c *clock) steady(now time.Time) int64 {
	return c.start.UnixMilli() + now.Sub(c.start).Milliseconds()
}

func (c *clock) shared(now time.Time) int64 { return c.steady(now) + c.offset.Load() }

// heard keeps what the shared cache said its time was.
func (c *clock) heard(shared int64, now time.Time) { c.offset.Store(shared - c.steady(now)) }

// toSteady converts a time of a record.
func (c *clock) toSteady(shared int64) int64 { return shared - c.offset.Load() }
