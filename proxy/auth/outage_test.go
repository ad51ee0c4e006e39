package auth_test

import (
	"slices"
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
	for _, p := range []*proxy{f.a, f.b} {
		expect(t, "before the outage", p.settled(t, k), auth.Allowed)
	}
	settle(t, f.operator, f.a, f.b)
	return k
}

// stays asks for a while, often enough for every time-out and retry of an outage to be met.
func stays(t *testing.T, what string, p *proxy, k testKey, want auth.Reason) {
	t.Helper()
	for began := time.Now(); time.Since(began) < 1500*time.Millisecond; {
		if d := p.Resolve(t.Context(), k.text); d.Reason != want {
			t.Errorf("%s, %v after: %v, want %v", what, time.Since(began), d.Reason, want)
			return
		}
	}
}

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
			for _, p := range []*proxy{f.a, f.b} {
				expect(t, "an unknown key", p.Resolve(t.Context(), mint(t).text), auth.Unavailable)
			}
			marks := []int{f.a.heard.Mark(), f.b.heard.Mark()}
			lose(t, f)
			f.a.heard.Await(t, marks[0], auth.Demote, "")
			f.b.heard.Await(t, marks[1], auth.Demote, "")
			for _, k := range keys {
				stays(t, "on a", f.a, k, auth.Allowed)
				stays(t, "on b", f.b, k, auth.Allowed)
			}
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
	for _, p := range []*proxy{f.a, f.b} {
		authtest.Eventually(t, "recovery", func() bool {
			d := p.Resolve(t.Context(), k.text)
			return d.Reason == want && !d.LastKnown
		})
	}
}

func TestARecordPastItsTimeStaysInRedisWhileTheSourceIsDown(t *testing.T) {
	f := newFleet(t, false, briefly)
	k := f.truth.create(t)
	f.plantStale(t, k)
	f.sourceDown(true)
	stays(t, "on a", f.a, k, auth.Allowed)
	stays(t, "on b", f.b, k, auth.Allowed)
	f.sourceDown(false)
	f.recovers(t, k, auth.Allowed)
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
			stays(t, "last known", f.a, k, auth.Allowed)
		}},
		{"evicted by Redis for want of memory", nil, func(t *testing.T, f *fleet, k testKey) {
			marks := []int{f.a.heard.Mark(), f.b.heard.Mark()}
			command(t, f.operator, "pexpire", "org:prefix:"+k.prefix, 1)
			f.a.heard.Await(t, marks[0], auth.Look, k.prefix)
			f.b.heard.Await(t, marks[1], auth.Look, k.prefix)
			for _, p := range []*proxy{f.a, f.b} {
				expect(t, "after the eviction", p.settled(t, k), auth.Allowed)
			}
			settle(t, f.operator, f.a, f.b)
		}},
	} {
		for _, down := range []bool{false, true} {
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
			for i, p := range []*proxy{f.a, f.b} {
				if d := p.Resolve(t.Context(), k.text); !slices.Contains(want, d.Reason) {
					t.Errorf("%s, source down %v, proxy %d: %v after the DEL", age.name, down, i, d.Reason)
				}
			}
			f.sourceDown(false)
			f.recovers(t, k, auth.Revoked)
		}
	}
}

// A record whose eviction this proxy may have missed is believed no longer than a copy in memory is, and is verified.
func TestRecordsFromBeforeADoubtAreVerified(t *testing.T) {
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
	f := newFleet(t, false, func(cfg *auth.Config) { cfg.CacheTTL = 200 * time.Millisecond })
	k := f.known(t)
	f.sourceDown(true)
	f.a.Heard(auth.Change{Verb: auth.Demote, Scope: auth.Scope{All: true}})
	stays(t, "in doubt", f.a, k, auth.Allowed)
	f.sourceDown(false)
	f.recovers(t, k, auth.Allowed)
}

// While the shared cache has not answered that what changed is gone from it, it is not asked for it.
func TestRedisIsNotReadBeforeItHasEvictedWhatChanged(t *testing.T) {
	f := newFleet(t, false, nil)
	k := f.known(t)
	stopped := f.a.hooks.arm("before evict")
	f.truth.revoke(t, k)
	f.a.Changed(auth.Change{Verb: auth.Remove, Scope: auth.Scope{Prefixes: []string{k.prefix}}})
	<-stopped.reached
	expect(t, "before the DEL", f.a.settled(t, k), auth.Revoked)
	expect(t, "on a proxy that has heard nothing", f.b.settled(t, k), auth.Allowed)
	close(stopped.resume)
	authtest.Eventually(t, "the DEL elsewhere", func() bool { return f.b.Resolve(t.Context(), k.text).Reason == auth.Revoked })
	expect(t, "after the DEL", f.a.settled(t, k), auth.Revoked)
}

var _ = servers.StartRedis
