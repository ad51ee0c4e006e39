package commit_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keygate/writer/commit"
	"keygate/writer/event"
	"keygate/writer/sinktest"
)

// patience is what an answer may come after its event's deadline: a call of the sink that has just begun, and a wait.
const patience = time.Second + 300*time.Millisecond

// submitAndTime submits one event in the background, and tells after how long it was answered.
func (f *fixture) submitAndTime(want commit.Outcome) <-chan time.Duration {
	f.Helper()
	took := make(chan time.Duration, 1)
	begun := time.Now()
	go func() {
		f.want(f.submit(sinktest.NewEvent("a", "")), want)
		took <- time.Since(begun)
	}()
	synctest.Wait()
	return took
}

func between(t *testing.T, got, least, most time.Duration) {
	t.Helper()
	if got < least || got > most {
		t.Errorf("took %v, want %v to %v", got, least, most)
	}
}

func TestEachEventIsTriedUntilItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, commit.Config{})
		f.sink.inject(failAndNotPersist(commit.Unavailable))
		certain := f.submitAndTime(commit.NotStored)
		time.Sleep(6 * time.Second)
		doubtful := f.submitAndTime(commit.CommitUnknown)
		between(t, <-certain, 10*time.Second, 10*time.Second+patience)
		f.sink.inject(failAndNotPersist(commit.Uncertain))
		time.Sleep(time.Second)
		f.sink.inject(failAndNotPersist(commit.Unavailable))
		lucky := f.submitAndTime(commit.Accepted)
		between(t, <-doubtful, 10*time.Second, 10*time.Second+patience)
		f.sink.inject(nil)
		between(t, <-lucky, time.Second, 10*time.Second)
		f.stored(1)
	})
}

func TestAFrozenDatabaseDelaysNoAnswerByMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, commit.Config{})
		f.sink.inject(freeze)
		var all []<-chan time.Duration
		for range 30 {
			all = append(all, f.submitAndTime(commit.CommitUnknown))
			time.Sleep(300 * time.Millisecond)
		}
		for _, took := range all {
			between(t, <-took, 10*time.Second, 10*time.Second+patience)
		}
	})
}

// Events of one half of a batch must not wait for those of the other to be given up.
func TestEachHalfOfABatchIsTriedUntilItsOwnDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, commit.Config{})
		gate := f.fill()
		tried := func(orgID string) <-chan time.Duration {
			took := make(chan time.Duration, 1)
			begun := time.Now()
			go func() {
				f.submit(sinktest.NewEvent(orgID, ""))
				took <- time.Since(begun)
			}()
			synctest.Wait()
			return took
		}
		second := tried("z")
		time.Sleep(5 * time.Second)
		first := tried("a")
		overloaded := false
		f.sink.inject(func(ctx context.Context, batch []*event.Event, next func() ([]bool, error)) ([]bool, error) {
			if !overloaded {
				overloaded = true
				return nil, failure(commit.Overloaded)
			}
			return freeze(ctx, batch, next)
		})
		gate.release()
		between(t, <-second, 10*time.Second, 10*time.Second+patience)
		between(t, <-first, 10*time.Second, 10*time.Second+patience)
		if sizes, _ := f.sink.calls(); sizes[1] != 2 || sizes[2] != 1 {
			t.Errorf("batches of %v, want 2 and its halves", sizes)
		}
	})
}

func TestAnEventThatIsAllButDueIsStillTriedForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, commit.Config{})
		f.sink.inject(failAndNotPersist(commit.Unavailable))
		took := f.submitAndTime(commit.Accepted)
		time.Sleep(9700 * time.Millisecond)
		f.sink.inject(func(ctx context.Context, _ []*event.Event, next func() ([]bool, error)) ([]bool, error) {
			select {
			case <-ctx.Done():
				return nil, failure(commit.Uncertain)
			case <-time.After(900 * time.Millisecond):
				return next()
			}
		})
		between(t, <-took, 10*time.Second, 11*time.Second)
	})
}

func TestOverloadHalvesTheBatchAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, commit.Config{MaxBatch: 64})
		gate := f.fill()
		later := f.submitLater(sinktest.NewEvents("a", 64)...)
		f.sink.inject(first(3, failAndNotPersist(commit.Overloaded)))
		gate.release()
		f.want((<-later)[63:], commit.Accepted)
		sizes, times := f.sink.calls()
		if want := []int{1, 64, 32, 16, 8, 8, 16, 32}; !slices.Equal(sizes, want) {
			t.Errorf("batches of %v, want %v", sizes, want)
		}
		for i := 2; i < 5; i++ {
			between(t, times[i].Sub(times[i-1]), 125*time.Millisecond, 250*time.Millisecond)
		}

		f.submit(sinktest.NewEvents("a", 800)...)
		sizes, _ = f.sink.calls()
		if !slices.IsSorted(sizes[:len(sizes)-1]) || sizes[0] > 16 || slices.Max(sizes) != 64 {
			t.Errorf("batches of %v, want them to grow back from a few to 64", sizes)
		}
	})
}

func TestReadyFollowsTheDatabaseEvenWithoutEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := build(t, commit.Config{})
		f.sink.inject(failAndNotPersist(commit.Unavailable))
		f.start()
		ready := func(want bool) {
			t.Helper()
			synctest.Wait()
			if got := f.Ready(); got != want {
				t.Errorf("ready is %v, want %v", got, want)
			}
		}
		ready(false) // it was never reached
		f.sink.inject(nil)
		time.Sleep(2 * time.Second)
		ready(true)

		f.sink.inject(failAndNotPersist(commit.Unavailable))
		f.submitAndTime(commit.NotStored)
		time.Sleep(9 * time.Second)
		ready(true)
		time.Sleep(2 * time.Second)
		ready(false)
		if outage := f.Stats().Outage; outage == nil || time.Since(outage.Since) != 11*time.Second ||
			outage.Cause != "unavailable" || outage.Error != errInjected.Error() {
			t.Errorf("the outage is %+v", outage)
		}
		f.sink.inject(nil)
		time.Sleep(2 * time.Second)
		ready(true)
		if outage := f.Stats().Outage; outage != nil {
			t.Errorf("the outage is %+v", outage)
		}
	})
}

func TestAnOutageIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := start(t, commit.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		f.sink.inject(failAndNotPersist(commit.Unavailable))
		f.submitAndTime(commit.Accepted)
		time.Sleep(5 * time.Second)
		f.sink.inject(nil)
		time.Sleep(5 * time.Second)
		f.stop()
		text := log.String()
		if strings.Count(text, "does not take events") != 1 || strings.Count(text, "takes events again") != 1 ||
			strings.Count(text, "\n") != 2 {
			t.Errorf("the log is\n%s", text)
		}
	})
}

func TestStoppingWithoutADatabaseAnswersAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, commit.Config{MaxBatch: 8})
		f.sink.inject(failAndNotPersist(commit.Unavailable))
		begun := time.Now()
		later := f.submitLater(sinktest.NewEvents("a", 50)...)
		time.Sleep(time.Second)
		f.stop()
		between(t, time.Since(begun), 10*time.Second, 10*time.Second+patience)
		for _, answer := range <-later {
			f.want([]commit.Answer{answer}, commit.NotStored)
		}
		if _, err := f.Submit(t.Context(), sinktest.NewEvents("a", 1)); !errors.Is(err, commit.ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	})
}

// Somebody's own unique index makes an event vanish without a trace: it conflicts, but with nothing that is ours.
func TestAnEventThatIsNeitherStoredNorFoundIsNotTriedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, commit.Config{})
		if _, err := f.db.ExecContext(t.Context(), "create unique index mine on events (type)"); err != nil {
			t.Fatal(err)
		}
		f.submit(sinktest.NewEvent("a", ""))
		between(t, <-f.submitAndTime(commit.CommitUnknown), 10*time.Second, 10*time.Second+patience)
		if sizes, _ := f.sink.calls(); len(sizes) > 100 {
			t.Errorf("it was tried %d times in ten seconds", len(sizes))
		}
		f.stored(1)
	})
}
