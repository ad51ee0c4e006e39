package commit_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"weak"

	"keygate/shared/uuid7"
	"keygate/writer/commit"
	"keygate/writer/event"
	"keygate/writer/sinktest"
)

func TestAnEventIsAnsweredAfterItIsStored(t *testing.T) {
	f := start(t, commit.Config{})
	e := sinktest.NewEvent("a", "")
	answers := f.submit(e)
	f.want(answers, commit.Accepted)
	if answers[0].ID != e.ID {
		t.Errorf("got the id %s, want %s", answers[0].ID, e.ID)
	}
	f.stored(1)
}

func TestWhatGathersDuringACommitIsTheNextBatch(t *testing.T) {
	f := start(t, commit.Config{MaxBatch: 64})
	gate := f.fill()
	var all []<-chan []commit.Answer
	for range 100 {
		all = append(all, f.submitLater(sinktest.NewEvent("a", "")))
	}
	gate.release()
	for _, answers := range all {
		f.want(<-answers, commit.Accepted)
	}
	if sizes, _ := f.sink.calls(); !slices.Equal(sizes, []int{1, 64, 36}) {
		t.Errorf("batches of %v, want 1, 64 and 36", sizes)
	}
	f.stored(101)
}

func TestABatchIsBoundedInBytesButForOneEvent(t *testing.T) {
	f := start(t, commit.Config{})
	gate := f.fill()
	large := func(size int) <-chan []commit.Answer {
		e := sinktest.NewEvent("a", "")
		e.Payload = fmt.Appendf(nil, `{"a":"%s"}`, strings.Repeat("x", size))
		return f.submitLater(e)
	}
	all := []<-chan []commit.Answer{large(5 << 20), large(1 << 20), large(1 << 20), large(3 << 20)}
	gate.release()
	for _, answers := range all {
		f.want(<-answers, commit.Accepted)
	}
	if sizes, _ := f.sink.calls(); !slices.Equal(sizes, []int{1, 1, 2, 1}) {
		t.Errorf("batches of %v, want 1, 1, 2 and 1", sizes)
	}
}

func TestNoEventIsKeptAfterItsAnswer(t *testing.T) {
	f := start(t, commit.Config{})
	e := sinktest.NewEvent("a", "order-1")
	again := *e
	again.ID = uuid7.Mint(time.Now())
	kept := []weak.Pointer[event.Event]{weak.Make(e), weak.Make(&again)}
	f.submit(e)
	f.submit(&again)
	e = nil
	f.await("the events are garbage", func() bool {
		runtime.GC()
		return kept[0].Value() == nil && kept[1].Value() == nil
	})
}

func TestARequestOfManyEventsIsAnsweredInItsOrder(t *testing.T) {
	f := start(t, commit.Config{MaxBatch: 16})
	first := sinktest.NewEvent("a", "order-7")
	f.submit(first)
	events := make([]*event.Event, 100)
	want := make([]commit.Outcome, len(events))
	for i := range events {
		events[i], want[i] = sinktest.NewEvent("a", fmt.Sprint("order-", 100-i)), commit.Accepted
	}
	events[93].Payload, want[93] = first.Payload, commit.Duplicate
	f.want(f.submit(events...), want...)
	f.stored(100)
}

// The answer to an event must not depend on whether what it met came before it, or in the same batch.
func TestEventsThatMeetAreAnsweredByWhatIsStored(t *testing.T) {
	first := sinktest.NewEvent("a", "order-1")
	first.ID = uuid7.Mint(time.UnixMilli(1)) // so that it is the first of a batch, too
	fresh := sinktest.NewEvent("a", "").ID
	meets := func(name string, change func(*event.Event), want commit.Outcome) {
		second := *first
		change(&second)
		id := second.ID
		if want == commit.Duplicate || want == commit.Conflict {
			id = first.ID
		}
		check := func(f *fixture, one, two []commit.Answer) {
			f.want(slices.Concat(one, two), commit.Accepted, want)
			if two[0].ID != id {
				f.Errorf("got the id %s, want %s", two[0].ID, id)
			}
		}
		t.Run(name+", later", func(t *testing.T) {
			f := start(t, commit.Config{})
			check(f, f.submit(first), f.submit(&second))
		})
		t.Run(name+", in one batch", func(t *testing.T) {
			f := start(t, commit.Config{})
			gate := f.fill()
			one, two := f.submitLater(first), f.submitLater(&second)
			gate.release()
			check(f, <-one, <-two)
		})
	}
	meets("the same once more", func(e *event.Event) {}, commit.Accepted)
	meets("the same under another id", func(e *event.Event) {
		e.ID, e.Payload = fresh, append([]byte(" "), e.Payload...)
	}, commit.Duplicate)
	meets("another payload", func(e *event.Event) { e.ID, e.Payload = fresh, []byte(`{}`) }, commit.Conflict)
	meets("another type", func(e *event.Event) { e.ID, e.Type = fresh, "order.paid" }, commit.Conflict)
	meets("its id, another payload", func(e *event.Event) { e.Payload = []byte(`{}`) }, commit.IDReused)
	meets("its id, another dedup id", func(e *event.Event) { e.DedupID = "order-2" }, commit.IDReused)
	meets("its id, in another organisation", func(e *event.Event) { e.OrgID = "b" }, commit.Accepted)
	meets("its dedup id, in another organisation", func(e *event.Event) { e.ID, e.OrgID = fresh, "b" }, commit.Accepted)
	meets("nothing of it", func(e *event.Event) { e.ID, e.DedupID = fresh, "" }, commit.Accepted)
}

// Of two events with one dedup id, the first has the id of a stored event and is not stored: the second one must be.
func TestAnEventDoesNotSufferFromAnotherThatIsNotStored(t *testing.T) {
	f := start(t, commit.Config{})
	stored := sinktest.NewEvent("a", "")
	f.submit(stored)
	bad, good := sinktest.NewEvent("a", "order-1"), sinktest.NewEvent("a", "order-1")
	bad.ID = stored.ID
	gate := f.fill()
	one, two := f.submitLater(bad), f.submitLater(good)
	gate.release()
	f.want(<-one, commit.IDReused)
	f.want(<-two, commit.Accepted)
}

func TestAClientThatGoesLeavesItsEvent(t *testing.T) {
	f := start(t, commit.Config{})
	gate := f.fill()
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := f.Submit(ctx, []*event.Event{sinktest.NewEvent("a", "")})
		gone <- err
	}()
	f.await("the event is admitted", func() bool { return f.Stats().QueueRows == 2 })
	other := f.submitLater(sinktest.NewEvent("a", ""))
	cancel()
	f.refused(<-gone, context.Canceled)
	gate.release()
	f.want(<-other, commit.Accepted)
	f.stored(3)
}

func TestAFullQueueRefusesAtOnceAndAll(t *testing.T) {
	refuses := func(name string, config commit.Config, held, more []*event.Event) {
		t.Run(name, func(t *testing.T) {
			f := start(t, config)
			gate := f.hold()
			later := f.submitLater(held...)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // if they are admitted, there is no answer
			defer cancel()
			_, err := f.Submit(ctx, more)
			f.refused(err, commit.ErrQueueFull)
			if got := f.Stats().QueueRows; got != len(held) {
				t.Errorf("%d events held, want %d", got, len(held))
			}
			gate.release()
			<-later
			f.want(f.submit(more[0]), commit.Accepted)
			f.stored(len(held) + 1)
		})
	}
	one := sinktest.NewEvents("a", 1)
	refuses("rows", commit.Config{QueueRows: 10}, sinktest.NewEvents("b", 5), sinktest.NewEvents("a", 6))
	refuses("bytes", commit.Config{QueueBytes: one[0].Size() * 2}, sinktest.NewEvents("b", 1), sinktest.NewEvents("a", 2))
	refuses("the organisation's share of rows", commit.Config{QueueRows: 20}, sinktest.NewEvents("a", 10), one)
	refuses("the organisation's share of bytes", commit.Config{QueueBytes: one[0].Size() * 7, OrgShare: 0.3},
		sinktest.NewEvents("a", 2), one)
}

func TestAnOrganisationCannotTakeTheQueueFromOthers(t *testing.T) {
	f := start(t, commit.Config{QueueRows: 20})
	gate := f.hold()
	greedy := f.submitLater(sinktest.NewEvents("greedy", 10)...)
	modest := f.submitLater(sinktest.NewEvents("modest", 10)...)
	gate.release()
	<-greedy
	f.want((<-modest)[:1], commit.Accepted)
}

// A queue smaller than a batch request is a strange choice, but not one that refuses it for ever.
func TestTheShareIsNotForAnOrganisationsOnlyRequest(t *testing.T) {
	f := start(t, commit.Config{QueueRows: 20})
	f.want(f.submit(sinktest.NewEvents("a", 20)...)[19:], commit.Accepted)
}

func TestStoppingStoresWhatWasAdmitted(t *testing.T) {
	f := start(t, commit.Config{MaxBatch: 8})
	gate := f.fill()
	later := f.submitLater(sinktest.NewEvents("a", 50)...)
	stopped := make(chan struct{})
	go func() {
		f.stop()
		close(stopped)
	}()
	admitted := 51
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	f.await("the queue is closed", func() bool {
		_, err := f.Submit(gone, sinktest.NewEvents("a", 1))
		if errors.Is(err, context.Canceled) {
			admitted++
		}
		return errors.Is(err, commit.ErrClosed)
	})
	gate.release()
	<-stopped
	f.want((<-later)[49:], commit.Accepted)
	f.stored(admitted)
}
