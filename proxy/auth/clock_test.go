package auth

import (
	"testing"
	"time"
)

func TestTheClockOfTheSharedCacheIsKeptInSight(t *testing.T) {
	c := newClock()
	at := c.start
	shared := func(ahead time.Duration) int64 { return c.steady(at) + ahead.Milliseconds() }
	for _, step := range []struct {
		what        string
		ahead, trip time.Duration
		offset      time.Duration
		jumped      bool
	}{
		{what: "the first answer", ahead: time.Hour, offset: time.Hour},
		{what: "a little drift", ahead: time.Hour + 10*time.Millisecond, offset: time.Hour + 10*time.Millisecond},
		{what: "an answer that took long", ahead: 0, trip: time.Minute, offset: time.Hour + 10*time.Millisecond},
		{what: "a clock that was set back", ahead: time.Minute, offset: time.Minute, jumped: true},
		{what: "the same from then on", ahead: time.Minute, offset: time.Minute},
		{what: "a suspended machine", ahead: 3 * time.Minute, offset: 3 * time.Minute, jumped: true},
	} {
		at = at.Add(time.Second)
		if jumped := c.probed(shared(step.ahead), at.Add(-step.trip), at) > clockJump; jumped != step.jumped {
			t.Errorf("%s: jumped is %v", step.what, jumped)
		}
		if offset := time.Duration(c.offset.Load()) * time.Millisecond; offset != step.offset {
			t.Errorf("%s: the offset is %v, want %v", step.what, offset, step.offset)
		}
	}
}

// The shared cache took its time anywhere between question and answer, so that a record may be older than it seems.
func TestARecordCanBeAsMuchOlderAsTheAnswerTook(t *testing.T) {
	c := newClock()
	at := c.start.Add(time.Hour)
	shared := c.steady(at) + 1000
	c.heard(shared, at.Add(-100*time.Millisecond), at)
	if latest, earliest := c.toSteady(shared), c.earliest(shared); latest != c.steady(at) || earliest != latest-100 {
		t.Errorf("filled between %d and %d, want %d and %d", earliest, latest, c.steady(at)-100, c.steady(at))
	}
}

// The clock of Redis is known to a round trip. What may have been filled before a doubt is suspect.
func TestARecordThatMayBeFromBeforeADoubtIsSuspect(t *testing.T) {
	const trip = 100
	r := New(Config{})
	defer r.Close()
	at := time.Now()
	shared := at.UnixMilli()
	r.clock.heard(shared, at.Add(-trip*time.Millisecond), at)
	r.doubt()
	doubted := shared + r.suspectUpTo.Load() - r.clock.steady(at) // by the clock of Redis, if its answer took no time
	for after, want := range map[int64]bool{-1: true, 0: true, 1: true, trip: true, trip + 1: false} {
		if _, suspect := r.suspect(&Record{FilledAt: doubted + after}); suspect != want {
			t.Errorf("filled %d ms after the doubt, it seems: suspect is %v", after, suspect)
		}
	}
}
