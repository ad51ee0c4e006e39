package auth_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/proxy/auth/redisstore"
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
// hearsFirst has proxy a hear of a remove, of which Redis is not told until tell is called.
func (f *fleet) hearsFirst(scope auth.Scope) (tell func()) {
	evicting := f.a.hooks.arm("before evict")
	f.a.Changed(auth.Change{Verb: auth.Remove, Scope: scope})
	<-evicting.reached
	return func() { close(evicting.resume) }
}

func TestRedisIsNotReadBeforeItHasEvictedWhatChanged(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, nil)
	k := f.known(t)
	f.truth.revoke(t, k)
	tell := f.hearsFirst(auth.Scope{Prefixes: []string{k.prefix}})
	expect(t, "before the DEL", f.a.settled(t, k), auth.Revoked)
	expect(t, "on a proxy that has heard nothing", f.b.settled(t, k), auth.Allowed)
	tell()
	authtest.Eventually(t, "the DEL elsewhere", func() bool {
		return f.b.Resolve(t.Context(), k.text).Reason == auth.Revoked
	})
	expect(t, "after the DEL", f.a.settled(t, k), auth.Revoked)
}

// A remove of all leaves no mark under single keys: until Redis has raised its floor, it is not read at all.
func TestRedisIsNotReadBeforeItHasEvictedAll(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, nil)
	k := f.known(t)
	f.truth.revoke(t, k)
	tell := f.hearsFirst(auth.Scope{All: true})
	expect(t, "before the floor is raised", f.a.settled(t, k), auth.Revoked)
	tell()
	f.recovers(t, k, auth.Revoked)
}

// What was removed is not last known either, whether it was named or all was.
func TestWhatWasRemovedIsNotLastKnown(t *testing.T) {
	t.Parallel()
	for name, scope := range map[string]func(k testKey) auth.Scope{
		"one": func(k testKey) auth.Scope { return auth.Scope{Prefixes: []string{k.prefix}} },
		"all": func(testKey) auth.Scope { return auth.Scope{All: true} },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, false, nil)
			k := f.known(t)
			f.sourceDown(true)
			tell := f.hearsFirst(scope(k))
			expect(t, "while Redis is yet to be told", f.a.Resolve(t.Context(), k.text), auth.Unavailable)
			tell()
			f.sourceDown(false)
			f.recoversOn(t, f.a, k, auth.Allowed)
		})
	}
}

// After a doubt, that nothing stands in Redis proves nothing, even if a look was heard: what a proxy knows is not removed by
// it, and a record that comes back is still the last known answer.
func TestAbsenceAfterADoubtRemovesNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, nil)
	k := f.known(t)
	name := redisstore.DefaultKeyPrefix + k.prefix
	record := f.operator.Get(t.Context(), name).Val()
	f.sourceDown(true)
	mark := f.a.heard.Mark()
	command(t, f.operator, "flushall")
	f.a.heard.Await(t, mark, auth.Demote, "")
	f.a.Heard(auth.Change{Verb: auth.Look, Scope: auth.Scope{Prefixes: []string{k.prefix}}})
	expect(t, "what cannot be confirmed", f.a.Resolve(t.Context(), k.text), auth.Unavailable)
	command(t, f.operator, "set", name, record, "px", 600_000)
	settle(t, f.operator, f.a)
	expect(t, "with the record", f.a.Resolve(t.Context(), k.text), auth.Allowed)
}
