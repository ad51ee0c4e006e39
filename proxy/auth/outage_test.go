package auth_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/tests/servers"
)

// known makes both proxies of a fleet know a new key by the record in Redis.
func (f *fleet) known(t *testing.T) testKey {
	t.Helper()
	k := f.truth.create(t)
	for _, p := range f.both() {
		expect(t, "before the outage", p.settled(t, k), auth.Allowed)
	}
	settle(t, f.operator, f.a, f.b)
	f.a.confirms(t, k)
	f.b.confirms(t, k)
	return k
}

// confirms waits until what was heard of the fill itself has been confirmed, which happens by itself.
func (p *proxy) confirms(t *testing.T, k testKey) {
	t.Helper()
	authtest.Eventually(t, "confirmed copy", func() bool {
		state := p.Explain(t.Context(), k.prefix).Memory.State
		return state == "fresh" || state == "expired"
	})
}

// stays asks for a while, long enough for every time-out and retry of an outage to be met.
func stays(t *testing.T, what string, proxies []*proxy, want auth.Reason, keys ...testKey) {
	t.Helper()
	for began := time.Now(); time.Since(began) < 1200*time.Millisecond; {
		for i, p := range proxies {
			for _, k := range keys {
				if d := p.Resolve(t.Context(), k.text); d.Reason != want {
					t.Errorf("%s, proxy %d, %v after: %v, want %v", what, i, time.Since(began), d.Reason, want)
					return
				}
			}
		}
	}
}

func (f *fleet) both() []*proxy { return []*proxy{f.a, f.b} }

func (f *fleet) sourceDown(down bool) {
	f.a.source.down.Store(down)
	f.b.source.down.Store(down)
}

// briefly makes copies in memory fresh for next to no time, so that every look-up walks through the tiers.
func briefly(cfg *auth.Config) { cfg.CacheTTL = time.Millisecond }

func TestKnownKeysSurviveAFlushWhileTheSourceIsDown(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, f *fleet){
		"flush": func(t *testing.T, f *fleet) { command(t, f.operator, "flushall") },
		"restart": func(t *testing.T, f *fleet) {
			f.server.Kill()
			f.server.Start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, false, nil)
			keys := []testKey{f.known(t), f.known(t), f.known(t)}
			f.sourceDown(true)
			for _, p := range f.both() {
				expect(t, "an unknown key", p.Resolve(t.Context(), mint(t).text), auth.Unavailable)
			}
			marks := []int{f.a.heard.Mark(), f.b.heard.Mark()}
			lose(t, f)
			f.a.heard.Await(t, marks[0], auth.Demote, "")
			f.b.heard.Await(t, marks[1], auth.Demote, "")
			stays(t, "since it was lost", f.both(), auth.Allowed, keys...)
			f.sourceDown(false)
			for _, k := range keys {
				f.truth.revoke(t, k)
				f.a.Changed(auth.Change{Verb: auth.Remove, Scope: auth.Scope{Prefixes: []string{k.prefix}}})
				f.b.Changed(auth.Change{Verb: auth.Remove, Scope: auth.Scope{Prefixes: []string{k.prefix}}})
				f.recovers(t, k, auth.Revoked)
			}
		})
	}
}

// recovers waits until both proxies tell the truth again, not from what was last known.
func (f *fleet) recovers(t *testing.T, k testKey, want auth.Reason) {
	t.Helper()
	for _, p := range f.both() {
		f.recoversOn(t, p, k, want)
	}
}

func (f *fleet) recoversOn(t *testing.T, p *proxy, k testKey, want auth.Reason) {
	t.Helper()
	authtest.Eventually(t, "recovery", func() bool {
		d := p.Resolve(t.Context(), k.text)
		return d.Reason == want && !d.LastKnown
	})
}

func TestARecordPastItsTimeStaysInRedisWhileTheSourceIsDown(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, briefly)
	k := f.truth.create(t)
	f.plantStale(t, k)
	f.sourceDown(true)
	stays(t, "since the source is down", f.both(), auth.Allowed, k)
	f.sourceDown(false)
	f.recovers(t, k, auth.Allowed)
}

// Who asks after a doubt waits for a flight that began after it, and that may take all the time that a flight has.
func TestAKnownKeyIsAnsweredWhereFlightsTakeAllTheirTime(t *testing.T) {
	t.Parallel()
	p := newProxy(t, settings{truth: newTruth(t)})
	k := p.truth.create(t)
	expect(t, "before the outage", p.Resolve(t.Context(), k.text), auth.Allowed)
	p.source.hung.Store(true)
	doubt := auth.Change{Verb: auth.Demote, Scope: auth.Scope{All: true}}
	p.Heard(doubt)
	asking := p.hooks.arm("before lookup")
	before := p.resolve(t, k)
	<-asking.reached
	p.Heard(doubt)
	after := p.resolve(t, k)
	<-after.joined
	close(asking.resume)
	expect(t, "before the doubt", <-before.decided, auth.Allowed)
	expect(t, "after the doubt", <-after.decided, auth.Allowed)
}

// What was taken out stays out, although nobody can be asked what is true, and at whatever age the copy was hit.
func TestADelIsHeardAtEveryAgeOfACopy(t *testing.T) {
	demote := auth.Change{Verb: auth.Demote, Scope: auth.Scope{All: true}}
	for _, age := range []struct {
		name   string
		change func(*auth.Config)
		make   func(t *testing.T, f *fleet, k testKey)
	}{
		{"fresh", nil, func(*testing.T, *fleet, testKey) {}},
		{"past its time", briefly, func(*testing.T, *fleet, testKey) {}},
		{"demoted", nil, func(_ *testing.T, f *fleet, _ testKey) { f.a.Heard(demote); f.b.Heard(demote) }},
		{"last known", briefly, func(t *testing.T, f *fleet, k testKey) {
			f.sourceDown(true)
			stays(t, "last known", []*proxy{f.a}, auth.Allowed, k)
		}},
		{"evicted by Redis for want of memory", nil, func(t *testing.T, f *fleet, k testKey) {
			marks := []int{f.a.heard.Mark(), f.b.heard.Mark()}
			command(t, f.operator, "pexpire", "org:prefix:"+k.prefix, 1)
			f.a.heard.Await(t, marks[0], auth.Look, k.prefix)
			f.b.heard.Await(t, marks[1], auth.Look, k.prefix)
			for _, p := range f.both() {
				expect(t, "after the eviction", p.settled(t, k), auth.Allowed)
			}
			settle(t, f.operator, f.a, f.b)
		}},
	} {
		for _, down := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, source down %v", age.name, down), func(t *testing.T) {
				t.Parallel()
				f := newFleet(t, false, age.change)
				k := f.known(t)
				age.make(t, f, k)
				f.sourceDown(down)
				f.truth.revoke(t, k)
				del(t, f.operator, k)
				settle(t, f.operator, f.a, f.b)
				want := []auth.Reason{auth.Unavailable}
				if !down {
					want = append(want, auth.Revoked)
				}
				for i, p := range f.both() {
					if d := p.Resolve(t.Context(), k.text); !slices.Contains(want, d.Reason) {
						t.Errorf("proxy %d: %v after the DEL", i, d.Reason)
					}
				}
				f.sourceDown(false)
				f.recovers(t, k, auth.Revoked)
			})
		}
	}
}

// A record whose eviction this proxy may have missed is believed no longer than a copy in memory is, and is verified.
func TestRecordsFromBeforeADoubtAreVerified(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, func(cfg *auth.Config) { cfg.CacheTTL = 500 * time.Millisecond })
	k := f.known(t)
	f.truth.revoke(t, k) // and nobody is told: a gap in the change log, a DEL that a fail-over lost
	f.a.Heard(auth.Change{Verb: auth.Demote, Scope: auth.Scope{All: true}})
	expect(t, "at once, from Redis", f.a.Resolve(t.Context(), k.text), auth.Allowed)
	began := time.Now()
	authtest.Eventually(t, "verification", func() bool { return f.a.Resolve(t.Context(), k.text).Reason == auth.Revoked })
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	settle(t, f.operator, f.a, f.b) // the record was replaced, so that nobody else believes it either
	expect(t, "elsewhere", f.b.settled(t, k), auth.Revoked)
}

func TestRecordsFromBeforeADoubtAreLastKnownWhileTheSourceIsDown(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, func(cfg *auth.Config) { cfg.CacheTTL = 200 * time.Millisecond })
	k := f.known(t)
	f.sourceDown(true)
	f.a.Heard(auth.Change{Verb: auth.Demote, Scope: auth.Scope{All: true}})
	stays(t, "in doubt", []*proxy{f.a}, auth.Allowed, k)
	f.sourceDown(false)
	f.recovers(t, k, auth.Allowed)
}

// While the shared cache has not answered that what changed is gone from it, it is not asked for it.
func TestRedisIsNotReadBeforeItHasEvictedWhatChanged(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, nil)
	k := f.known(t)
	stopped := f.a.hooks.arm("before evict")
	f.truth.revoke(t, k)
	f.a.Changed(auth.Change{Verb: auth.Remove, Scope: auth.Scope{Prefixes: []string{k.prefix}}})
	<-stopped.reached
	expect(t, "before the DEL", f.a.settled(t, k), auth.Revoked)
	expect(t, "on a proxy that has heard nothing", f.b.settled(t, k), auth.Allowed)
	close(stopped.resume)
	authtest.Eventually(t, "the DEL elsewhere", func() bool {
		return f.b.Resolve(t.Context(), k.text).Reason == auth.Revoked
	})
	expect(t, "after the DEL", f.a.settled(t, k), auth.Revoked)
}

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
