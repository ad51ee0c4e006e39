package auth_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/tests/servers"
)

// faults are ways in which a tier does not answer, and how that ends.
var faults = []struct {
	name       string
	begin, end func(server *servers.RedisServer)
}{
	{"Redis dead", (*servers.RedisServer).Kill, (*servers.RedisServer).Start},
	{"Redis frozen", (*servers.RedisServer).Pause, (*servers.RedisServer).Continue},
}

// newCutOff returns a proxy with the Redis deadline of production, and a key that it knows.
func newCutOff(t *testing.T, change func(*auth.Config)) (*truth, *servers.RedisServer, *proxy, testKey) {
	t.Helper()
	truth, server := newTruth(t), servers.StartRedis(t)
	p := newProxy(t, settings{truth: truth, redis: server, id: "a", redisTimeout: 50 * time.Millisecond, change: change})
	k := truth.create(t)
	expect(t, "before the outage", p.settled(t, k), auth.Allowed)
	settle(t, operator(t, server), p)
	p.confirms(t, k)
	return truth, server, p, k
}

// median is that of so many look-ups, all of them allowed.
func median(t *testing.T, p *proxy, k testKey) time.Duration {
	t.Helper()
	took := make([]time.Duration, 5000)
	for i := range took {
		began := time.Now()
		d := p.Resolve(t.Context(), k.text)
		took[i] = time.Since(began)
		if d.Reason != auth.Allowed {
			t.Fatalf("a known key: %v", d.Reason)
		}
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// With both tiers gone, what memory holds is answered as ever, what nobody knows is refused as unknown within the
// budget, and everything recovers by itself.
func TestBothTiersGone(t *testing.T) {
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			truth, server, p, k := newCutOff(t, nil)
			before := median(t, p, k)
			fault.begin(server)
			p.source.hung.Store(true)
			soonest := time.Hour
			for range 3 {
				began := time.Now()
				expect(t, "an unknown key", p.Resolve(t.Context(), mint(t).text), auth.Unavailable)
				soonest = min(soonest, time.Since(began))
				if during := median(t, p, k); during > 5*before+10*time.Microsecond {
					t.Errorf("a memory hit takes %v, before the outage %v", during, before)
				}
			}
			if soonest > 1200*time.Millisecond { // half a second, on a machine that is busy
				t.Errorf("unknown keys were told so after %v at the soonest", soonest)
			}
			fault.end(server)
			p.source.hung.Store(false)
			fresh := truth.create(t)
			authtest.Eventually(t, "recovery", func() bool {
				return p.Resolve(t.Context(), fresh.text).Reason == auth.Allowed && p.SourceHealthy() && p.cache.Healthy()
			})
		})
	}
}

// Known keys walk through the dead tiers each time, and are answered all the same.
func TestKnownKeysOutliveTheirTimeInAnOutage(t *testing.T) {
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			truth, server, p, k := newCutOff(t, briefly)
			fault.begin(server)
			expect(t, "Redis gone", p.Resolve(t.Context(), k.text), auth.Allowed)
			p.source.down.Store(true)
			stays(t, "both gone", []*proxy{p}, auth.Allowed, k)
			fault.end(server)
			stays(t, "Redis back", []*proxy{p}, auth.Allowed, k)
			truth.revoke(t, k)
			p.Changed(auth.Change{Verb: auth.Remove, Scope: auth.Scope{Prefixes: []string{k.prefix}}})
			stays(t, "removed, source gone", []*proxy{p}, auth.Unavailable, k)
			p.source.down.Store(false)
			expect(t, "both back", p.settled(t, k), auth.Revoked)
		})
	}
}

// What was removed while Redis could not be told is refused here at once, and elsewhere as soon as Redis is back.
func TestRemovedKeysStayRefusedThroughAnOutage(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, nil)
	k := f.known(t)
	f.server.Pause()
	f.sourceDown(true)
	f.truth.revoke(t, k)
	f.a.Changed(auth.Change{Verb: auth.Remove, Scope: auth.Scope{Prefixes: []string{k.prefix}}})
	stays(t, "where it was heard", []*proxy{f.a}, auth.Unavailable, k)
	expect(t, "elsewhere, cut off from everything", f.b.Resolve(t.Context(), k.text), auth.Allowed)
	f.server.Continue()
	authtest.Eventually(t, "refusal elsewhere", func() bool {
		return f.b.Resolve(t.Context(), k.text).Outcome() != auth.Allow
	})
	stays(t, "with Redis back", f.both(), auth.Unavailable, k)
	f.sourceDown(false)
	f.recovers(t, k, auth.Revoked)
}

func TestLastKnownAnswersEndWithTheirLimit(t *testing.T) {
	for _, limit := range []time.Duration{0, 700 * time.Millisecond} {
		t.Run(limit.String(), func(t *testing.T) {
			t.Parallel()
			truth := newTruth(t)
			p := newProxy(t, settings{truth: truth, change: func(cfg *auth.Config) {
				cfg.CacheTTL, cfg.StaleIfError = 100*time.Millisecond, limit
			}})
			k := truth.create(t)
			before := time.Now()
			expect(t, "before the outage", p.settled(t, k), auth.Allowed)
			after := time.Now() // the source was read in between
			p.source.down.Store(true)
			// Copies are fresh for the time to live less a tenth at most, and last known for the limit.
			least, most := max(limit, 90*time.Millisecond), max(limit, 100*time.Millisecond)
			for time.Since(after) < 1200*time.Millisecond {
				asked := time.Now()
				switch d := p.Resolve(t.Context(), k.text); {
				case d.Reason == auth.Allowed && asked.Sub(after) > most+10*time.Millisecond:
					t.Fatalf("allowed to somebody who asked %v after the source was read", asked.Sub(after))
				case d.Reason != auth.Allowed && time.Since(before) < least-10*time.Millisecond:
					t.Fatalf("%v within %v", d.Reason, time.Since(before))
				}
			}
			expect(t, "in the end", p.Resolve(t.Context(), k.text), auth.Unavailable)
		})
	}
}

// A source that hangs is asked once a second, and one that returns is met by no crowd.
func TestASourceThatReturnsIsNotStampeded(t *testing.T) {
	t.Parallel()
	const concurrency, rate = 4, 100
	truth := newTruth(t)
	p := newProxy(t, settings{truth: truth, change: func(cfg *auth.Config) {
		cfg.CacheTTL, cfg.SourceConcurrency, cfg.SourceRate = 20*time.Millisecond, concurrency, rate
	}})
	keys := make([]testKey, 200)
	for i := range keys {
		keys[i] = mint(t)
	}
	truth.insert(t, keys...)
	for _, k := range keys {
		expect(t, "before the outage", p.settled(t, k), auth.Allowed)
	}
	p.source.hung.Store(true)
	before := p.source.queries.Load()
	crowd := func(lasts time.Duration) (unknown int64) {
		var all sync.WaitGroup
		for _, k := range keys {
			all.Go(func() {
				for began := time.Now(); time.Since(began) < lasts; {
					expect(t, "a known key", p.Resolve(t.Context(), k.text), auth.Allowed)
				}
			})
		}
		all.Wait()
		return p.source.queries.Load() - before
	}
	began := time.Now()
	queries := crowd(1800 * time.Millisecond)
	if queries > concurrency+failuresToPause+2+int64(time.Since(began).Seconds()) {
		t.Errorf("%d queries of a source that hangs for %v", queries, time.Since(began))
	} else {
		t.Logf("%d queries of a source that hangs for %v", queries, time.Since(began))
	}
	p.source.hung.Store(false)
	before, began = p.source.queries.Load(), time.Now()
	if queries = crowd(time.Second); queries > rate*int64(2+time.Since(began).Seconds()) || queries < 5 {
		t.Errorf("%d queries within %v of its return", queries, time.Since(began))
	} else {
		t.Logf("%d queries within %v of its return, %d at once", queries, time.Since(began), p.source.most.Load())
	}
	if most := p.source.most.Load(); most > concurrency {
		t.Errorf("%d queries at once", most)
	}
}

const failuresToPause = 3
