package auth

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// enter asks for permission until ctx ends, or for a minute.
func enter(ctx context.Context, g *gate, seen bool) (leave func(), err error) {
	until, limited := ctx.Deadline()
	if !limited {
		until = time.Now().Add(time.Minute)
	}
	if seen {
		return g.enter(ctx, until, nil)
	}
	unseen, err := g.unseenTurn(until)
	if err != nil {
		return nil, err
	}
	return g.enter(ctx, until, unseen)
}

// enters counts how often the gate lets through within d.
func enters(t *testing.T, g *gate, seen bool, d time.Duration) (n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	for {
		leave, err := enter(ctx, g, seen)
		if err != nil {
			return n
		}
		leave()
		n++
	}
}

func TestPrefixesNeverSeenGetHalfTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(100, 4, func(bool) {})
		if n := enters(t, g, false, 10*time.Second); n < 500 || n > 50+500 {
			t.Errorf("%d look-ups of unseen prefixes in 10 s", n)
		}
		if n := enters(t, g, true, 10*time.Second); n < 1000 || n > 100+1000 {
			t.Errorf("%d look-ups of seen prefixes in 10 s", n)
		}
	})
}

func TestPrefixesNeverSeenLeaveHalfTheSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1000, 4, func(bool) {})
		var leaves []func()
		for range 2 {
			leave, err := enter(t.Context(), g, false)
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, leave)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := enter(ctx, g, false); !errors.Is(err, errOverBudget) {
			t.Errorf("a third unseen prefix: %v", err)
		}
		for range 2 {
			leave, err := enter(t.Context(), g, true)
			if err != nil {
				t.Fatalf("a seen prefix: %v", err)
			}
			leaves = append(leaves, leave)
		}
		for _, leave := range leaves {
			leave()
		}
		if len(g.slots) != 0 || len(g.halves) != 0 {
			t.Errorf("%d and %d slots are still taken", len(g.slots), len(g.halves))
		}
	})
}

func TestTheSourceIsLeftAloneAfterFailuresAndTriedByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1000, 4, func(bool) {})
		for range failuresToPause {
			g.told(time.Now(), errors.New("out of reach"))
		}
		if n := enters(t, g, true, 100*time.Millisecond); n != 0 {
			t.Errorf("%d look-ups during the pause", n)
		}
		<-time.After(sourcePause)
		if n := enters(t, g, true, 100*time.Millisecond); n != 1 {
			t.Errorf("%d look-ups after the pause, before anybody knows how the first went", n)
		}
		g.told(time.Now(), nil)
		if n := enters(t, g, true, 100*time.Millisecond); n < 100 {
			t.Errorf("%d look-ups after the source is back", n)
		}
	})
}

func TestASourceThatAnswersOthersIsBusyAndNotBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1000, 4, func(bool) {})
		late := func() { g.told(time.Now().Add(-flightBudget), context.DeadlineExceeded) }
		g.told(time.Now(), nil)
		for range 2 * failuresToPause {
			late()
		}
		if !g.healthy() || g.fails() {
			t.Error("look-ups that began before another was answered were counted")
		}
		time.Sleep(flightBudget + time.Millisecond)
		for range failuresToPause {
			late()
		}
		if g.healthy() {
			t.Error("nobody has been answered since these began, and the source is not left alone")
		}
	})
}

func TestEvictionsAskedForAgainMeanwhileAreNotDone(t *testing.T) {
	e := newEvictions()
	e.add(Scope{Prefixes: []string{"a", "b"}})
	round, more := e.next()
	if !more || len(round.scope().Prefixes) != 2 || round.scope().All {
		t.Fatalf("got %+v, %v", round, more)
	}
	e.add(Scope{Prefixes: []string{"a"}})
	e.done(round)
	if !e.pending("a") || e.pending("b") {
		t.Errorf("a is pending: %v, b is: %v", e.pending("a"), e.pending("b"))
	}
	e.add(Scope{All: true})
	round, _ = e.next()
	if !round.scope().All || !e.pending("c") {
		t.Errorf("got %+v", round.scope())
	}
	e.done(round)
	if _, more := e.next(); more || e.pending("a") {
		t.Error("something is left")
	}
}

func TestTooManyEvictionsBecomeAll(t *testing.T) {
	e := newEvictions()
	e.add(Scope{Prefixes: []string{"a"}})
	e.add(Scope{Prefixes: make([]string, maxEvictions)})
	if round, more := e.next(); !more || !round.scope().All || len(round.prefixes) != 0 {
		t.Errorf("got %d prefixes", len(round.prefixes))
	}
}

func TestASourceThatFailsIsTalkedOfOnce(t *testing.T) {
	var told []bool
	g := newGate(1000, 4, func(failing bool) { told = append(told, failing) })
	for range 2 {
		for range 3 * failuresToPause {
			g.told(time.Now(), errors.New("away"))
		}
		for range 2 {
			g.told(time.Now(), nil)
		}
	}
	if want := []bool{true, false, true, false}; !slices.Equal(told, want) {
		t.Errorf("told %v, not %v", told, want)
	}
}
