package auth_test

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"keygate/proxy/apikey"
	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/tests/servers"
)

// A flood that leaves the processor to others: what is tested is the budget of the source.
const floodRate = 5000

// flood runs attackers until the test has seen enough.
func flood(t *testing.T, attack func(ctx context.Context), during func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var attackers sync.WaitGroup
	pace := rate.NewLimiter(floodRate, 100)
	for range 400 { // each waits for an answer, as a client would
		attackers.Go(func() {
			for pace.Wait(ctx) == nil {
				attack(ctx)
			}
		})
	}
	during()
	cancel()
	attackers.Wait()
}

// Good keys are refreshed from the source all the while: no flood of keys that do not exist makes them wait for it, nor
// makes the source look as if it were down.
func TestAFloodOfUnknownKeysLeavesGoodOnesTheirShare(t *testing.T) {
	t.Parallel()
	const perSecond, lasts = 400, 2 * time.Second
	truth := newTruth(t)
	p := newProxy(t, settings{truth: truth, change: func(cfg *auth.Config) {
		cfg.SourceRate, cfg.CacheTTL = perSecond, 200*time.Millisecond
	}})
	var good []testKey
	for range 10 {
		good = append(good, mint(t))
	}
	truth.insert(t, good...)
	for _, k := range good {
		expect(t, "before the flood", p.Resolve(t.Context(), k.text), auth.Allowed)
	}
	p.source.delay.Store(int64(20 * time.Millisecond)) // a database that is busy, too
	before := p.source.queries.Load()
	var presented, refused atomic.Int64
	attack := func(ctx context.Context) {
		presented.Add(1)
		if d := p.Resolve(ctx, mint(t).text); d.Reason == auth.Unavailable {
			refused.Add(1)
		}
	}
	var worst time.Duration
	asked, lastKnown, unknown, broken := 0, 0, 0, time.Duration(0)
	var removed time.Time
	flood(t, attack, func() {
		for began := time.Now(); time.Since(began) < lasts; {
			round := time.Now()
			// In the second half, keys change, too: one that has just changed is no stranger.
			if time.Since(began) > lasts/2 && time.Since(removed) > 20*time.Millisecond {
				removed = time.Now()
				changed := good[int(removed.UnixMilli())%len(good)]
				p.Heard(auth.Change{Verb: auth.Remove, Scope: auth.Scope{Prefixes: []string{changed.prefix}}})
			}
			for _, k := range good {
				at := time.Now()
				d := p.Resolve(t.Context(), k.text)
				worst = max(worst, time.Since(at))
				asked++
				if d.LastKnown {
					lastKnown++
				}
				switch d.Reason {
				case auth.Allowed:
				case auth.Unavailable:
					unknown++
				default:
					t.Fatalf("a good key: %v", d.Reason)
				}
			}
			if !p.SourceHealthy() {
				broken += time.Since(round)
			}
		}
	})
	queries := p.source.queries.Load() - before
	most := int64(perSecond/2)*int64(lasts/time.Second+1) + int64(len(good)+10)*int64(lasts/(100*time.Millisecond))
	if queries > most {
		t.Errorf("%d queries, at most %d", queries, most)
	}
	// Look-ups may starve for the processor of a busy machine. Without the budget's halves it is all of them.
	if unknown > asked/100 || broken > lasts/2 {
		t.Errorf("%d good keys were unknown, and the source was taken for broken for %v", unknown, broken)
	}
	if lastKnown > asked/3 { // a refresh may starve for the processor, and not for the source
		t.Errorf("%d of %d good answers were last known ones, from a source that works", lastKnown, asked)
	}
	t.Logf("%d unknown keys (%d over budget), %d queries; %d good answers, the slowest %v",
		presented.Load(), refused.Load(), queries, asked, worst)
	for _, k := range good {
		expect(t, "after the flood", p.settled(t, k), auth.Allowed)
	}
}

func TestWrongSecretsForARealPrefixNeitherPoisonNorLockOut(t *testing.T) {
	t.Parallel()
	truth := newTruth(t)
	p := newProxy(t, settings{truth: truth, redis: servers.StartRedis(t), id: "a", change: func(cfg *auth.Config) {
		cfg.Format = apikey.Format{ForeignPrefix: 21}
		cfg.HashesMayChange = true
		cfg.SourceRate = 20
	}})
	k := truth.create(t)
	expect(t, "before", p.settled(t, k), auth.Allowed)
	before := p.source.queries.Load()
	attack := func(ctx context.Context) {
		d := p.Resolve(ctx, []byte(k.prefix+"_"+rand.Text()+rand.Text()))
		if d.Reason != auth.WrongSecret && ctx.Err() == nil {
			t.Errorf("a wrong secret: %v", d.Reason)
		}
	}
	asked, began := 0, time.Now()
	flood(t, attack, func() {
		for ; time.Since(began) < 1500*time.Millisecond; asked++ {
			if d := p.Resolve(t.Context(), k.text); d.Reason != auth.Allowed || d.LastKnown {
				t.Errorf("the right secret: %v, last known: %v", d.Reason, d.LastKnown)
				return
			}
		}
	})
	if queries := p.source.queries.Load() - before; queries > int64(time.Since(began)/time.Second)+2 {
		t.Errorf("%d queries in %v", queries, time.Since(began))
	}
	t.Logf("%d right answers in between", asked)
}

// A flood of wrong secrets that spends the budget for doubts must not make a last known answer of a good copy.
func TestADoubtOverBudgetLeavesTheCopyAsItWas(t *testing.T) {
	t.Parallel()
	truth := newTruth(t)
	p := newProxy(t, settings{truth: truth, change: func(cfg *auth.Config) {
		cfg.Format = apikey.Format{ForeignPrefix: 21}
		cfg.HashesMayChange = true
	}})
	k := truth.create(t)
	expect(t, "before", p.settled(t, k), auth.Allowed)
	p.source.down.Store(true)
	wrong := []byte(k.prefix + "_" + strings.Repeat("x", 38))
	began := time.Now()
	for time.Since(began) < 1200*time.Millisecond { // until the copy is old enough to be doubted
		p.Resolve(t.Context(), wrong)
	}
	if p.source.queries.Load() < 2 {
		t.Fatal("the source was not asked about a wrong secret")
	}
	if d := p.Resolve(t.Context(), k.text); d.Reason != auth.Allowed || d.LastKnown {
		t.Errorf("the right secret: %v, last known: %v", d.Reason, d.LastKnown)
	}
}

func TestTenThousandRequestsForOneColdKeyAreTwoQueriesAtMost(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, nil)
	for round := range 3 {
		k := f.truth.create(t)
		before := f.a.source.queries.Load() + f.b.source.queries.Load()
		var all sync.WaitGroup
		start := make(chan struct{})
		reasons := make([]auth.Reason, 10_000)
		for i := range reasons {
			p := []*proxy{f.a, f.b}[i%2]
			all.Go(func() {
				<-start
				reasons[i] = p.settled(t, k).Reason
			})
		}
		close(start)
		all.Wait()
		if i := slices.IndexFunc(reasons, func(r auth.Reason) bool { return r != auth.Allowed }); i >= 0 {
			t.Errorf("request %d: %v", i, reasons[i])
		}
		queries := f.a.source.queries.Load() + f.b.source.queries.Load() - before
		if queries > 2 {
			t.Errorf("%d queries", queries)
		}
		t.Logf("round %d: %d queries", round, queries)
	}
}

// Leases are written for keys. In a flood there are hardly any, and each lease would be heard by every proxy.
func TestAFloodOfUnknownKeysTakesNoLeases(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, func(cfg *auth.Config) { cfg.SourceRate = 1_000_000 })
	good := f.truth.create(t)
	flood(t, func(ctx context.Context) { f.a.Resolve(ctx, mint(t).text) }, func() {
		asked := func() bool { return f.a.source.queries.Load() > 1000 }
		authtest.Eventually(t, "1,000 look-ups", asked)
		expect(t, "a good key that only the source knows", f.a.settled(t, good), auth.Allowed)
	})
	if state := f.b.Explain(t.Context(), good.prefix).Redis.State; state != "fresh" {
		t.Errorf("in Redis, the good key is %s", state)
	}
	if leases := f.a.hooks.leases.Load(); leases > 100 {
		t.Errorf("%d leases were taken", leases)
	}
}

// What does not exist is remembered apart: no flood of it evicts what does.
func TestAFloodEvictsNoGoodKey(t *testing.T) {
	t.Parallel()
	truth := newTruth(t)
	p := newProxy(t, settings{truth: truth, change: func(cfg *auth.Config) { cfg.SourceRate, cfg.CacheTTL = 1_000_000, time.Hour }})
	good := make([]testKey, 1000)
	for i := range good {
		good[i] = mint(t)
	}
	truth.insert(t, good...)
	for _, k := range good {
		p.settled(t, k)
	}
	before := p.source.queries.Load()
	flood(t, func(ctx context.Context) { p.Resolve(ctx, mint(t).text) }, func() {
		authtest.Eventually(t, "10,000 look-ups", func() bool { return p.source.queries.Load() >= before+10_000 })
	})
	for _, k := range good {
		if _, known := p.memory.Get([]byte(k.prefix)); !known {
			t.Error("a good key was forgotten")
		}
		expect(t, "a good key", p.Resolve(t.Context(), k.text), auth.Allowed)
	}
	if n := p.memory.Len(); n != len(good) {
		t.Errorf("memory holds %d keys", n)
	}
}
