package auth

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// script is an asker whose answers are handed out by the test.
type script struct {
	asked   chan flightKey
	answers chan answer
	removes atomic.Uint32
	looks   atomic.Uint32
}

func newScript() *script { return &script{asked: make(chan flightKey), answers: make(chan answer)} }

func (s *script) ask(ctx context.Context, key flightKey) answer {
	select {
	case s.asked <- key:
	case <-ctx.Done():
		return answer{again: true}
	}
	select {
	case a := <-s.answers:
		return a
	case <-ctx.Done():
		return answer{again: true}
	}
}

func (s *script) together([]byte) time.Time                         { return time.Time{} }
func (s *script) askTogether(context.Context, []flightKey) []answer { panic("nobody goes together") }
func (s *script) overtaken(_ string, a answer) bool                 { return a.note.removes != s.removes.Load() }
func (s *script) unconfirmed(_ string, a answer) bool               { return a.note.looks != s.looks.Load() }

// landing is a waiter that keeps what it is told.
type landing chan answer

func (l landing) landed(fl *flight) { l <- fl.answer }

// wait joins the flight for prefix.
func (f *flights) wait(prefix string, why purpose) landing {
	l := make(landing, 1)
	f.join([]byte(prefix), why, l)
	return l
}

func anEntry() entry { return newEntry(&Record{Fill: "f", Keys: []Key{good()}}, note{}, lifetime{}, 0) }

func TestEverybodyWaitsForOneFlight(t *testing.T) {
	s := newScript()
	f := newFlights(s)
	defer f.close()
	var waiters sync.WaitGroup
	for range 100 {
		told := f.wait("p", asked)
		waiters.Go(func() {
			if got := <-told; got.entry == nil {
				t.Error("a waiter got no answer")
			}
		})
	}
	<-s.asked
	s.answers <- answer{entry: anEntry()}
	waiters.Wait()
}

func TestAFlightOvertakenByARemoveAsksAgain(t *testing.T) {
	s := newScript()
	f := newFlights(s)
	defer f.close()
	early := f.wait("p", asked)
	<-s.asked
	s.removes.Add(1) // the truth changes after the flight has read
	late := f.wait("p", asked)
	s.answers <- answer{entry: anEntry(), note: note{removes: 0}}
	<-s.asked
	s.answers <- answer{reason: NoSuchKey, note: note{removes: 1}}
	for _, told := range []landing{early, late} {
		if got := <-told; got.entry != nil || got.reason != NoSuchKey {
			t.Errorf("got %+v: the answer is older than the remove", got)
		}
	}
}

// overtaken has what is asked about together answered too early.
type overtaken struct{ refuser }

func (overtaken) overtaken(_ string, a answer) bool { return a.flooded }

func TestAmongManyAFlightOvertakenByARemoveAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlights(overtaken{})
		defer f.close()
		for _, told := range f.joinMany(3) {
			if got := <-told; got.reason != NoSuchKey || got.flooded {
				t.Errorf("got %+v: the answer is older than the remove", got)
			}
		}
	})
}

func TestWaitersAreLetGoAfterHalfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		f := newFlights(s)
		defer f.close()
		start := time.Now()
		told := f.wait("p", asked)
		<-s.asked
		if got := <-told; got.entry != nil || got.reason != Unavailable || time.Since(start) != flightBudget {
			t.Errorf("got %+v after %v", got, time.Since(start))
		}
	})
}

func TestALookDuringAFlightIsConfirmedAfterIt(t *testing.T) {
	s := newScript()
	f := newFlights(s)
	defer f.close()
	for _, why := range []purpose{asked, unpaid, doubted} {
		told := f.wait("p", why)
		<-s.asked
		s.looks.Add(1)
		f.recheck("p")
		s.answers <- answer{entry: anEntry(), note: note{looks: s.looks.Load() - 1}}
		<-told
		if key := <-s.asked; key.purpose != asked { // by itself
			t.Errorf("the source was asked to confirm what purpose %d had stored", why)
		}
		s.answers <- answer{entry: anEntry(), note: note{looks: s.looks.Load()}}
	}
}

// What was heard before the record was written, above all the flight's own lease, needs no confirmation.
func TestALookThatAFlightKnowsOfIsNotConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		f := newFlights(s)
		told := f.wait("p", asked)
		<-s.asked
		s.looks.Add(1)
		f.recheck("p")
		s.answers <- answer{entry: anEntry(), note: note{looks: s.looks.Load()}}
		<-told
		synctest.Wait()
		select {
		case <-s.asked:
			t.Error("asked again")
		default:
		}
		f.close()
	})
}

func TestANegativeAnswerIsNotRechecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		f := newFlights(s)
		told := f.wait("p", asked)
		<-s.asked
		s.looks.Add(1) // the lease that this very flight took is heard as a look
		f.recheck("p")
		s.answers <- answer{reason: NoSuchKey}
		<-told
		synctest.Wait()
		select {
		case <-s.asked:
			t.Error("asked again")
		default:
		}
		f.close()
	})
}

func TestCloseWaitsForFlightsAndRefusesNewOnes(t *testing.T) {
	s := newScript()
	f := newFlights(s)
	told := f.wait("p", asked)
	<-s.asked
	f.close()
	if got := <-told; got.reason != Unavailable {
		t.Errorf("got %+v", got)
	}
	if got := <-f.wait("p", asked); got.entry != nil || got.reason != Unavailable {
		t.Errorf("got %+v", got)
	}
}
