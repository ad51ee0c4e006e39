package commit_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keygate/writer/commit"
	"keygate/writer/event"
	"keygate/writer/sinktest"
)

// A census refuses events whose dedup id begins with "bad", and counts.
type census struct {
	failed atomic.Int64 // calls
	mixed  atomic.Int64 // batches with events of several organisations
}

func (c *census) insert(_ context.Context, batch []*event.Event, next func() ([]bool, error)) ([]bool, error) {
	for _, e := range batch {
		if e.OrgID != batch[0].OrgID {
			c.mixed.Add(1)
			break
		}
	}
	for _, e := range batch {
		if strings.HasPrefix(e.DedupID, "bad") {
			c.failed.Add(1)
			return nil, failure(commit.Refused)
		}
	}
	return next()
}

func badEvents(orgID string, n int) []*event.Event {
	events := sinktest.NewEvents(orgID, n)
	for _, e := range events {
		e.DedupID = "bad-" + e.ID.String()
	}
	return events
}

// Each of 500 events would take the database a call to refuse, and as many again to find them all.
func TestAFloodOfRefusedEventsCostsOthersLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, commit.Config{})
		var census census
		for round := range 10 {
			gate := f.fill()
			bad := f.submitLater(badEvents("bad", 300)...)
			good := f.submitLater(sinktest.NewEvents("good", 200)...)
			f.sink.inject(census.insert)
			gate.release()
			for _, answer := range <-good {
				f.want([]commit.Answer{answer}, commit.Accepted)
			}
			tally := make(map[commit.Outcome]int)
			for _, answer := range <-bad {
				tally[answer.Outcome]++
			}
			if tally[commit.Unstorable] == 0 && round == 0 || tally[commit.Unstorable]+tally[commit.HeldBack] != 300 {
				t.Errorf("round %d: bad events are %v", round, tally)
			}
		}
		// Those of the first batch in which nobody was a suspect yet, and what one may cost at once.
		if n := census.failed.Load(); n > 10+60 {
			t.Errorf("%d calls failed", n)
		}
		census.failed.Store(0)
		for range 50 {
			time.Sleep(100 * time.Millisecond)
			f.submit(badEvents("bad", 300)...)
		}
		if n := census.failed.Load(); n > 5*20+1 || n < 5*20-20 {
			t.Errorf("%d calls failed in five seconds", n)
		}
	})
}

func TestASuspectIsCommittedApartForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, commit.Config{})
		var census census
		both := func() {
			gate := f.fill()
			one, two := f.submitLater(sinktest.NewEvent("bad", "")), f.submitLater(sinktest.NewEvent("good", ""))
			f.sink.inject(census.insert)
			gate.release()
			f.want(<-one, commit.Accepted)
			f.want(<-two, commit.Accepted)
		}
		f.sink.inject(census.insert)
		f.want(f.submit(badEvents("bad", 1)...), commit.Unstorable)
		both()
		time.Sleep(59 * time.Second)
		both()
		if n := census.mixed.Load(); n > 0 {
			t.Errorf("the events of a suspect were in %d batches of others", n)
		}
		time.Sleep(2 * time.Second)
		both()
		if n := census.mixed.Load(); n != 1 {
			t.Errorf("a minute later, %d batches were mixed", n)
		}
	})
}

// An organisation with a refused event now and then has all its others stored.
func TestASuspectIsServedAsLongAsItCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, commit.Config{})
		var census census
		f.sink.inject(census.insert)
		for range 30 {
			events := append(sinktest.NewEvents("a", 100), badEvents("a", 1)...)
			answers := f.submit(events...)
			for i, answer := range answers {
				if want := commit.Accepted; i < 100 && answer.Outcome != want || i == 100 && answer.Outcome != commit.Unstorable {
					t.Fatalf("event %d is %v", i, answer.Outcome)
				}
			}
			time.Sleep(time.Second)
		}
		f.stored(3000)
	})
}
