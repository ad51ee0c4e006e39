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

func (s *script) overtaken(_ string, a answer) bool   { return a.note.removes != s.removes.Load() }
func (s *script) unconfirmed(_ string, a answer) bool { return a.note.looks != s.looks.Load() }

func anEntry() entry { return newEntry(&Record{Fill: "f", Keys: []Key{good()}}, note{}, lifetime{}, 0) }

func TestEverybodyWaitsForOneFlight(t *testing.T) {
	s := newScript()
	f := newFlights(s)
	defer f.close()
	var waiters sync.WaitGroup
	for range 100 {
		fl := f.join([]byte("p"), asked)
		waiters.Go(func() {
			if got := fl.wait(t.Context()); got.entry == nil {
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
	fl := f.join([]byte("p"), asked)
	<-s.asked
	s.removes.Add(1) // the truth changes after the flight has read
	joined := f.join([]byte("p"), asked)
	s.answers <- answer{entry: anEntry(), note: note{removes: 0}}
	<-s.asked
	s.answers <- answer{reason: NoSuchKey, note: note{removes: 1}}
	for _, fl := range []*flight{fl, joined} {
		if got := fl.wait(t.Context()); got.entry != nil || got.reason != NoSuchKey {
			t.Errorf("got %+v: the answer is older than the remove", got)
		}
	}
}

func TestWaitersAreLetGoAfterHalfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		f := newFlights(s)
		defer f.close()
		start := time.Now()
		fl := f.join([]byte("p"), asked)
		<-s.asked
		if got := fl.wait(t.Context()); got.entry != nil || got.reason != Unavailable || time.Since(start) != flightBudget {
			t.Errorf("got %+v after %v", got, time.Since(start))
		}
	})
}

func TestAClientThatGoesTakesNothingFromTheOthers(t *testing.T) {
	s := newScript()
	f := newFlights(s)
	defer f.close()
	gone, cancel := context.WithCancel(t.Context())
	first, second := f.join([]byte("p"), asked), f.join([]byte("p"), asked)
	<-s.asked
	cancel()
	if got := first.wait(gone); got.reason != Unavailable {
		t.Errorf("got %+v", got)
	}
	s.answers <- answer{entry: anEntry()}
	if got := second.wait(t.Context()); got.entry == nil {
		t.Errorf("got %+v", got)
	}
}

func TestALookDuringAFlightIsConfirmedAfterIt(t *testing.T) {
	s := newScript()
	f := newFlights(s)
	defer f.close()
	for _, why := range []purpose{asked, unpaid, doubted} {
		fl := f.join([]byte("p"), why)
		<-s.asked
		s.looks.Add(1)
		f.recheck("p")
		s.answers <- answer{entry: anEntry(), note: note{looks: s.looks.Load() - 1}}
		fl.wait(t.Context())
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
		fl := f.join([]byte("p"), asked)
		<-s.asked
		s.looks.Add(1)
		f.recheck("p")
		s.answers <- answer{entry: anEntry(), note: note{looks: s.looks.Load()}}
		fl.wait(t.Context())
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
		fl := f.join([]byte("p"), asked)
		<-s.asked
		s.looks.Add(1) // the lease that this very flight took is heard as a look
		f.recheck("p")
		s.answers <- answer{reason: NoSuchKey}
		fl.wait(t.Context())
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
	fl := f.join([]byte("p"), asked)
	<-s.asked
	f.close()
	if got := fl.wait(t.Context()); got.reason != Unavailable {
		t.Errorf("got %+v", got)
	}
	if got := f.join([]byte("p"), asked).wait(t.Context()); got.entry != nil || got.reason != Unavailable {
		t.Errorf("got %+v", got)
	}
}
