package redisstore

import (
	"slices"
	"testing"
	"time"
)

func TestTheBreaker(t *testing.T) {
	var changes []bool
	b := &breaker{changed: func(open bool) { changes = append(changes, open) }}
	now := time.Unix(1, 0)
	for range breakerFailures - 1 {
		b.report(false, now, now)
	}
	b.report(true, now, now)
	for i := range breakerFailures {
		if !b.allow(now) {
			t.Fatalf("open after %d failures in a row", i)
		}
		b.report(false, now, now)
	}
	if b.allow(now) || b.allow(now.Add(breakerPause-1)) || b.healthy() {
		t.Fatal("not open")
	}
	now = now.Add(breakerPause)
	if !b.allow(now) || b.allow(now) {
		t.Fatal("a probe is let through, and only one")
	}
	b.report(false, now, now)
	if b.allow(now.Add(breakerPause - 1)) {
		t.Fatal("closed by a probe that failed")
	}
	now = now.Add(breakerPause)
	if !b.allow(now) {
		t.Fatal("no second probe")
	}
	b.report(true, now, now)
	for range 2 {
		if !b.allow(now) || !b.healthy() {
			t.Fatal("not closed by a probe that was answered")
		}
	}
	if !slices.Equal(changes, []bool{true, false}) {
		t.Errorf("told of %v", changes)
	}
}

func TestAProbeThatNeverReportsIsFollowedByAnother(t *testing.T) {
	b := &breaker{changed: func(bool) {}}
	now := time.Unix(1, 0)
	for range breakerFailures {
		b.report(false, now, now)
	}
	if !b.allow(now.Add(breakerPause)) || !b.allow(now.Add(2*breakerPause)) {
		t.Error("one caller that went away keeps the breaker open")
	}
}

func TestACallThatFailsWhileOthersAreAnsweredOpensNothing(t *testing.T) {
	b := &breaker{changed: func(bool) { t.Error("opened") }}
	began := time.Unix(1, 0)
	b.report(true, began, began.Add(time.Millisecond))
	for range 2 * breakerFailures {
		b.report(false, began, began.Add(50*time.Millisecond))
	}
	for range breakerFailures - 1 { // these say something
		b.report(false, began.Add(time.Millisecond), began.Add(60*time.Millisecond))
	}
	if !b.healthy() {
		t.Error("open")
	}
}
