package commit_test

import (
	"testing"
	"testing/synctest"
	"time"

	"keygate/writer/commit"
	"keygate/writer/sinktest"
)

func TestTheSecondSinkCommitsWhileManyWait(t *testing.T) {
	f := startWithSecond(t, commit.Config{MaxBatch: 8})
	gate := f.fill()
	few := f.submitLater(sinktest.NewEvents("a", 3)...)
	if sizes, _ := f.second.calls(); len(sizes) > 0 {
		t.Errorf("batches of %v rows were not left to grow", sizes)
	}
	f.want(f.submit(sinktest.NewEvent("b", "")), commit.Accepted) // makes it half a batch
	f.want(<-few, commit.Accepted, commit.Accepted, commit.Accepted)
	gate.release()
}

func TestRunTriesWhatTheSecondSinkDidNotStore(t *testing.T) {
	for _, fault := range []insertFault{
		failAndNotPersist(commit.Unavailable), failAndNotPersist(commit.Refused), failAndNotPersist(commit.Uncertain),
		failButPersist(commit.Uncertain),
	} {
		f := startWithSecond(t, commit.Config{MaxBatch: 4})
		gate := f.fill()
		behind := f.second.hold(fault)
		later := f.submitLater(sinktest.NewEvents("a", 2)...)
		<-behind.entered
		gate.release()
		behind.release()
		f.want(<-later, commit.Accepted, commit.Accepted)
		f.stop()
		if outage := f.Stats().Outage; outage != nil {
			t.Errorf("the second connection's trouble counts as an outage: %v", outage)
		}
	}
}

// The committer may be stopped just then.
func TestWhatTheSecondSinkDidNotStoreIsTriedBeforeRunReturns(t *testing.T) {
	f := startWithSecond(t, commit.Config{MaxBatch: 4})
	gate := f.fill()
	behind := f.second.hold(failAndNotPersist(commit.Unavailable))
	later := f.submitLater(sinktest.NewEvents("a", 2)...)
	<-behind.entered
	gate.release()
	stopped := make(chan struct{})
	go func() {
		f.stop()
		close(stopped)
	}()
	f.await("the first sink is done", func() bool { return f.Stats().QueueRows == 2 })
	behind.release()
	f.want(<-later, commit.Accepted, commit.Accepted)
	<-stopped
}

// What comes back from the second sink is older than what Run is trying.
func TestWhatTheSecondSinkDidNotStoreIsGivenUpAtItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startWithSecond(t, commit.Config{MaxBatch: 4})
		f.second.inject(freeze)
		gate := f.fill()
		first, second := f.submitAndTime(commit.CommitUnknown), f.submitAndTime(commit.CommitUnknown)
		time.Sleep(5 * time.Second)
		gate.release()
		synctest.Wait()
		f.sink.inject(failAndNotPersist(commit.Unavailable))
		younger := f.submitAndTime(commit.NotStored)
		between(t, <-first, 10*time.Second, 10*time.Second+patience)
		between(t, <-second, 10*time.Second, 10*time.Second+patience)
		between(t, <-younger, 10*time.Second, 10*time.Second+patience)
	})
}

func TestTheSecondSinkStaysAwayInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startWithSecond(t, commit.Config{MaxBatch: 4})
		f.sink.inject(failAndNotPersist(commit.Unavailable))
		first := f.submitAndTime(commit.Accepted)
		f.second.calls()
		for range 4 {
			f.submitAndTime(commit.Accepted)
		}
		time.Sleep(5 * time.Second)
		if sizes, _ := f.second.calls(); len(sizes) > 0 {
			t.Errorf("batches of %v rows were tried beside a database in trouble", sizes)
		}
		f.sink.inject(nil)
		between(t, <-first, 5*time.Second, 10*time.Second)
		synctest.Wait()
	})
}
