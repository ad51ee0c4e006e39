package auth

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// barrenGate has just seen a flood.
func barrenGate(perSecond, concurrency int) *gate {
	g := newGate(perSecond, concurrency, func(bool) {})
	for range barrenRow {
		g.found(0)
	}
	return g
}

func TestWhatAQuietSecondSavedUpIsNotForAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		most := func(g *gate) int { return enters(t, g, false, 900*time.Millisecond) }
		if n := most(newGate(200, 4, func(bool) {})); n < 100+80 {
			t.Errorf("%d look-ups of single prefixes in 0.9 s", n)
		}
		if n := most(barrenGate(200, 4)); n < 40 || n > 2+90 {
			t.Errorf("%d look-ups of a flood in 0.9 s", n)
		}
	})
}

func (g *gate) waitedFor() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.moments)
}

func TestThoseWhoGoTogetherShareATimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := barrenGate(1000, 16)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		came := make(chan time.Time, 100)
		for range cap(came) {
			all.Go(func() {
				if g.goTogether(t.Context(), time.Now()) {
					came <- time.Now()
				}
			})
		}
		all.Go(func() {
			if g.goTogether(ctx, time.Now().Add(togetherEach)) {
				t.Error("went after the end of its context")
			}
		})
		synctest.Wait()
		if n := g.waitedFor(); n != 2 {
			t.Errorf("%d moments are waited for, not 2", n)
		}
		cancel()
		all.Wait()
		first := <-came
		for range cap(came) - 1 {
			if next := <-came; !next.Equal(first) {
				t.Fatalf("one went at %v, another at %v", first, next)
			}
		}
		time.Sleep(2 * togetherEach)
		synctest.Wait()
		if n := g.waitedFor(); n != 0 {
			t.Errorf("%d moments are kept", n)
		}
	})
}

// refuser refuses everybody as one of many.
type refuser struct{}

func (refuser) together([]byte) time.Time { return time.Now().Add(togetherEach) }
func (refuser) ask(context.Context, flightKey) answer {
	return answer{reason: NoSuchKey}
}
func (refuser) askTogether(_ context.Context, keys []flightKey) []answer {
	return slices.Repeat([]answer{{reason: NoSuchKey, flooded: true}}, len(keys))
}
func (refuser) overtaken(_ string, _ answer) bool   { return false }
func (refuser) unconfirmed(_ string, _ answer) bool { return false }

func (f *flights) joinMany(n int) (all []landing) {
	for i := range n {
		all = append(all, f.wait(string(rune(i)), asked))
	}
	return all
}

func told(all []landing) (n int) {
	for _, l := range all {
		n += len(l)
	}
	return n
}

// nothing is a memory and a source without a key.
type nothing struct{}

func (nothing) Get([]byte) ([]byte, bool)                     { return nil, false }
func (nothing) Set(_, _ []byte)                               {}
func (nothing) Delete([]byte)                                 {}
func (nothing) Len() int                                      { return 0 }
func (nothing) Lookup(context.Context, string) ([]Key, error) { return nil, nil }

func TestOnlyThoseWhoCameInAFloodAreToldAsOneOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{
			Memory: nothing{}, Negative: nothing{}, Source: nothing{}, SourceRate: 1000, SourceConcurrency: 16,
			Metrics: NewMetrics(prometheus.NewRegistry()),
		})
		defer r.Close()
		for i := range 2 * barrenRow {
			got := <-r.flights.wait(string(rune('a'+i)), asked)
			if got.reason != NoSuchKey || got.flooded != (i >= barrenRow) {
				t.Errorf("unknown key %d: %v, one of many: %v", i, got.reason, got.flooded)
			}
		}
	})
}

func TestAFloodIsToldAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlights(refuser{})
		defer f.close()
		all := f.joinMany(60)
		time.Sleep(togetherEach)
		for _, want := range []int{0, 10, 18, 25, 30} {
			synctest.Wait()
			if n := told(all); n != want {
				t.Fatalf("%d of %d are told, not %d", n, len(all), want)
			}
			time.Sleep(paceEach)
		}
		time.Sleep(20 * paceEach)
		if n := told(all); n != len(all) {
			t.Errorf("%d of %d are told in the end", n, len(all))
		}
	})
}

func TestACloseTellsThoseWhoWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlights(refuser{})
		all := f.joinMany(60)
		time.Sleep(togetherEach)
		synctest.Wait()
		f.close()
		if n := told(all); n != len(all) {
			t.Errorf("%d of %d are told", n, len(all))
		}
	})
}
