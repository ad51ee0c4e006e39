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
