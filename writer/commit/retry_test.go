package commit_test

import (
	"context"
	"fmt"
	"testing"

	"keygate/writer/commit"
	"keygate/writer/event"
	"keygate/writer/sinktest"
)

func TestFailedCommitsAreRunAgainUntilTheTruthIsKnown(t *testing.T) {
	converges := func(name string, fault insertFault) {
		t.Run(name, func(t *testing.T) {
			f := start(t, commit.Config{})
			earlier := sinktest.NewEvent("a", "order-1")
			f.submit(earlier)
			repeated := *earlier
			repeated.ID = sinktest.NewEvent("a", "").ID
			gate := f.fill()
			fresh, repeat := f.submitLater(sinktest.NewEvents("a", 3)...), f.submitLater(&repeated)
			dedup := f.submitLater(sinktest.NewEvent("a", "order-2"))
			f.sink.inject(fault)
			gate.release()
			f.want(<-fresh, commit.Accepted, commit.Accepted, commit.Accepted)
			f.want(<-repeat, commit.Duplicate)
			f.want(<-dedup, commit.Accepted)
			f.stored(6)
		})
	}
	for _, cause := range []commit.Cause{commit.Unavailable, commit.Uncertain, commit.Overloaded} {
		converges(fmt.Sprintf("failAndNotPersist, %v", cause), first(3, failAndNotPersist(cause)))
	}
	converges("failButPersist", first(1, failButPersist(commit.Uncertain)))
	converges("failButPersist twice", first(2, failButPersist(commit.Uncertain)))
}

func TestAFailedFindIsRunAgain(t *testing.T) {
	f := start(t, commit.Config{})
	e := sinktest.NewEvent("a", "order-1")
	f.submit(e)
	again := *e
	again.ID = sinktest.NewEvent("a", "").ID
	failures := 2
	f.sink.injectIntoFind(func() error {
		if failures--; failures >= 0 {
			return failure(commit.Unavailable)
		}
		return nil
	})
	f.want(f.submit(sinktest.NewEvent("a", ""), &again), commit.Accepted, commit.Duplicate)
}

func TestARefusedEventIsRefusedAlone(t *testing.T) {
	f := start(t, commit.Config{})
	gate := f.fill()
	events := sinktest.NewEvents("a", 200)
	var all []<-chan []commit.Answer
	for _, e := range events {
		all = append(all, f.submitLater(e))
	}
	f.sink.inject(refuse(events[137]))
	gate.release()
	for i, answers := range all {
		if i == 137 {
			f.want(<-answers, commit.Unstorable)
		} else {
			f.want(<-answers, commit.Accepted)
		}
	}
	f.stored(200)
	// The batch before it, its own, and two halves for each of the eight times that 200 can be halved.
	if sizes, _ := f.sink.calls(); len(sizes) > 1+1+2*8 {
		t.Errorf("%d batches for one refused event among 200: %v", len(sizes), sizes)
	}
}

func TestARefusedEventIsNoOutage(t *testing.T) {
	f := start(t, commit.Config{})
	bad := sinktest.NewEvent("a", "")
	f.sink.inject(refuse(bad))
	f.want(f.submit(bad), commit.Unstorable)
	f.stop()
	if stats := f.Stats(); stats.Outage != nil || !f.Ready() {
		t.Errorf("one event's fault is the outage %v", stats.Outage)
	}
}

func TestAFullDiskIsSaidAtOnce(t *testing.T) {
	f := start(t, commit.Config{})
	f.sink.inject(failAndNotPersist(commit.Full))
	f.want(f.submit(sinktest.NewEvents("a", 2)...), commit.DiskFull, commit.DiskFull)
	f.sink.inject(nil)
	f.want(f.submit(sinktest.NewEvent("a", "")), commit.Accepted)
}

// After a commit in doubt, a full disk says nothing about it.
func TestDoubtOutlastsOtherFailures(t *testing.T) {
	f := start(t, commit.Config{})
	f.sink.inject(func(ctx context.Context, batch []*event.Event, next func() ([]bool, error)) ([]bool, error) {
		f.sink.inject(failAndNotPersist(commit.Full))
		return failButPersist(commit.Uncertain)(ctx, batch, next)
	})
	f.want(f.submit(sinktest.NewEvent("a", "")), commit.CommitUnknown)
	f.stored(1)
}
