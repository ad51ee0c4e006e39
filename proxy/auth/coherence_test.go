package auth_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/proxy/auth/redisstore"
	"keygate/tests/servers"
)

// mutation is a change of the truth.
type mutation struct {
	name          string
	before, after told
	prepare       string // run on a key that was inserted; "absent" leaves it out
	change        string // "insert" inserts it
}

type told struct {
	reason auth.Reason
	org    string
}

func tell(d auth.Decision) told { return told{d.Reason, d.Principal.OrgID} }

var mutations = []mutation{
	{"revoke", told{auth.Allowed, "org-1"}, told{auth.Revoked, ""}, "",
		"update api_keys set enabled = 0 where prefix = $1"},
	{"re-enable", told{auth.Revoked, ""}, told{auth.Allowed, "org-1"}, "update api_keys set enabled = 0 where prefix = $1",
		"update api_keys set enabled = 1 where prefix = $1"},
	{"organization change", told{auth.Allowed, "org-1"}, told{auth.Allowed, "org-2"}, "",
		"update api_keys set org_id = 'org-2' where prefix = $1"},
	{"expiry", told{auth.Allowed, "org-1"}, told{auth.Expired, ""}, "",
		"update api_keys set expires_at = '2020-01-01T00:00:00.000Z' where prefix = $1"},
	{"create", told{auth.NoSuchKey, ""}, told{auth.Allowed, "org-1"}, "absent", "insert"},
}

// fleet is two proxies over one Redis and one source.
type fleet struct {
	truth    *truth
	server   *servers.RedisServer
	operator *redis.Client
	a, b     *proxy
}

func newFleet(t *testing.T, follow bool, change func(*auth.Config)) *fleet {
	t.Helper()
	f := &fleet{truth: newTruth(t), server: servers.StartRedis(t)}
	f.operator = operator(t, f.server)
	s := settings{truth: f.truth, redis: f.server, follow: follow, change: change}
	s.id = "a"
	f.a = newProxy(t, s)
	s.id = "b"
	f.b = newProxy(t, s)
	return f
}

func (f *fleet) begin(t *testing.T, m mutation) testKey {
	t.Helper()
	k := mint(t)
	if m.prepare != "absent" {
		f.truth.insert(t, k)
		if m.prepare != "" {
			f.truth.exec(t, m.prepare, k.prefix)
		}
	}
	return k
}

func (f *fleet) commit(t *testing.T, m mutation, k testKey) {
	t.Helper()
	if m.change == "insert" {
		f.truth.insert(t, k)
		return
	}
	f.truth.exec(t, m.change, k.prefix)
}

// wayIn makes both proxies hear of a change that was committed.
type wayIn struct {
	name string
	hear func(t *testing.T, f *fleet, k testKey)
}

var waysIn = []wayIn{
	{"endpoint", func(t *testing.T, f *fleet, k testKey) { f.invalidate(t, auth.Scope{Prefixes: []string{k.prefix}}) }},
	{"all", func(t *testing.T, f *fleet, _ testKey) { f.invalidate(t, auth.Scope{All: true}) }},
	{"DEL", func(t *testing.T, f *fleet, k testKey) {
		del(t, f.operator, k)
		settle(t, f.operator, f.a, f.b)
	}},
	{"change log", func(t *testing.T, f *fleet, k testKey) {
		for _, p := range []*proxy{f.a, f.b} {
			p.Changed(auth.Change{Verb: auth.Remove, Scope: auth.Scope{Prefixes: []string{k.prefix}}})
		}
	}},
}

// invalidate does what the endpoint of proxy a does.
func (f *fleet) invalidate(t *testing.T, scope auth.Scope) {
	t.Helper()
	f.a.Changed(auth.Change{Verb: auth.Remove, Scope: scope})
	ctx, cancel := context.WithTimeout(t.Context(), authtest.Patience)
	defer cancel()
	if got, err := f.a.cache.Invalidate(ctx, scope); err != nil || got.Confirmed != 2 || got.Proxies != 2 {
		t.Fatalf("the endpoint got %+v, %v", got, err)
	}
}

// places is where a first look-up on proxy a is stopped, while the truth changes and the change is heard.
var places = []string{
	"before get", "after get", "before lease", "after lease", "before lookup", "after lookup",
	"before store", "after store", "before release", "after release",
}

// start is what stands in the tiers when the first look-up comes.
type start struct {
	name string
	make func(t *testing.T, f *fleet, k testKey)
}

var starts = []start{
	{"cold", func(*testing.T, *fleet, testKey) {}},
	{"in Redis", func(t *testing.T, f *fleet, k testKey) { f.b.settled(t, k) }},
	{"stale in Redis", func(t *testing.T, f *fleet, k testKey) { f.plantStale(t, k) }},
}

// plantStale fills Redis with the truth, read so long ago that the record may only be replaced.
func (f *fleet) plantStale(t *testing.T, k testKey) {
	t.Helper()
	keys, err := f.b.source.Source.Lookup(t.Context(), k.prefix)
	if err != nil || len(keys) == 0 {
		return
	}
	seen, err := f.b.cache.Lease(t.Context(), k.prefix)
	if err != nil {
		t.Fatal(err)
	}
	rec := auth.Record{Fill: "stale", FilledAt: seen.Now, ReadAt: seen.Now, FreshUntil: seen.Now - 1, Keys: keys}
	if stored, err := f.b.cache.Store(t.Context(), k.prefix, seen.Token, rec); err != nil || !stored {
		t.Fatalf("stored %v, %v", stored, err)
	}
}

// After a change has been heard, no look-up that starts later answers with what was true before, wherever in its
// course an older look-up was overtaken, and even if the later one joins it.
func TestNobodyIsToldTheOldTruthOnceAChangeIsHeard(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, nil)
	reached := map[string]int{}
	for _, m := range mutations {
		for _, way := range waysIn {
			for _, s := range starts {
				for _, place := range places {
					if f.interleave(t, m, way, s, place) {
						reached[place]++
					}
				}
			}
		}
	}
	for _, place := range places {
		if reached[place] == 0 {
			t.Errorf("no look-up was ever stopped %s", place)
		}
	}
	t.Log(reached)
}

func (f *fleet) interleave(t *testing.T, m mutation, way wayIn, s start, place string) (reached bool) {
	t.Helper()
	what := fmt.Sprintf("%s by %s, %s, stopped %s", m.name, way.name, s.name, place)
	k := f.begin(t, m)
	s.make(t, f, k)
	settle(t, f.operator, f.a, f.b)
	stopped := f.a.hooks.armFor(place, k.prefix)
	first := f.a.resolve(t, k)
	select {
	case <-stopped.reached:
	case d := <-first.decided:
		f.a.hooks.disarm(place)
		if tell(d) != m.before && d.Outcome() != auth.Unknown {
			t.Errorf("%s: before the change told %v, want %v", what, tell(d), m.before)
		}
		return false
	}
	// A DEL is silent unless something stands in Redis: a key that is created is then seen when the negative answer ends.
	silent := m.change == "insert" && way.name == "DEL"
	if silent {
		_, err := f.operator.Get(t.Context(), redisstore.DefaultKeyPrefix+k.prefix).Result()
		silent = errors.Is(err, redis.Nil)
	}
	f.commit(t, m, k)
	way.hear(t, f, k)
	late := f.a.resolve(t, k)
	var decided []auth.Decision
	select {
	case <-late.joined:
		close(stopped.resume)
		decided = append(decided, <-late.decided)
	case d := <-late.decided:
		close(stopped.resume)
		decided = append(decided, d)
	}
	<-first.decided
	decided = append(decided, f.a.settled(t, k))
	if m.change != "insert" || way.name != "DEL" {
		decided = append(decided, f.b.settled(t, k))
	}
	for i, d := range decided {
		if tell(d) != m.after && (i > 0 || d.Outcome() != auth.Unknown) && !silent {
			t.Errorf("%s: look-up %d of those after the change was told %v, want %v", what, i, tell(d), m.after)
		}
	}
	return true
}

// The message by which the lease itself is heard of is not its end: whoever took that for it would ask the source, too. And
// so would who finds the lease only when taking one.
func TestALeaseIsWaitedForThoughItIsHeardOf(t *testing.T) {
	t.Parallel()
	for _, place := range []string{"before get", "before lease"} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, false, nil)
			for tries := 1; !f.awaitsLease(t, place); tries++ {
				if tries == 10 {
					t.Fatal("no look-up came to the lease within its budget")
				}
			}
		})
	}
}

// awaitsLease has proxy b come to a lease of proxy a. False: on a busy machine b was held up for longer than its budget.
func (f *fleet) awaitsLease(t *testing.T, place string) (came bool) {
	t.Helper()
	k := f.truth.create(t)
	coming, holding := f.b.hooks.armFor(place, k.prefix), f.a.hooks.armFor("after lease", k.prefix)
	second := f.b.resolve(t, k)
	<-coming.reached
	first := f.a.resolve(t, k)
	<-holding.reached
	settle(t, f.operator, f.a, f.b)
	alone := f.b.hooks.armFor("before lookup", k.prefix)
	began := time.Now()
	close(coming.resume)
	select {
	case <-alone.reached:
		came = true
		if waited := time.Since(began); waited < 240*time.Millisecond {
			t.Errorf("the holder of the lease was given %v", waited)
		}
		close(alone.resume)
		if d := <-second.decided; d.Outcome() == auth.Deny {
			t.Errorf("who found the lease: %v", d.Reason)
		}
	case d := <-second.decided:
		f.b.hooks.disarm("before lookup")
		if d.Outcome() != auth.Unknown {
			t.Errorf("who did not look: %v", d.Reason)
		}
	}
	close(holding.resume)
	if d := <-first.decided; d.Outcome() == auth.Deny { // held up for longer than its budget, it may be unknown
		t.Errorf("who holds the lease: %v", d.Reason)
	}
	return came
}

// The whole way: a statement in the database, its trigger, the followers of two proxies, and the DEL for a third that
// follows nothing.
func TestAnUpdateIsHeardThroughTheChangeLog(t *testing.T) {
	t.Parallel()
	f := newFleet(t, true, nil)
	deaf := newProxy(t, settings{truth: f.truth, redis: f.server, id: "deaf"})
	proxies := []*proxy{f.a, f.b, deaf}
	var worst time.Duration
	for range 20 {
		k := f.truth.create(t)
		for _, p := range proxies {
			expect(t, "before", p.settled(t, k), auth.Allowed)
		}
		f.truth.revoke(t, k)
		began := time.Now()
		for _, p := range proxies {
			authtest.Eventually(t, "refusal", func() bool { return p.Resolve(t.Context(), k.text).Reason == auth.Revoked })
		}
		worst = max(worst, time.Since(began))
		for range 100 {
			for _, p := range proxies {
				if d := p.Resolve(t.Context(), k.text); d.Outcome() == auth.Allow {
					t.Fatal("allowed again after it was refused")
				}
			}
		}
	}
	t.Logf("refused by all after %v at worst", worst)
}

// Whether the DEL came before or after what the copy was made of, only a write that succeeds can tell.
func TestADelVoidsAFillThatRedisDidNotTake(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, nil)
	k := f.truth.create(t)
	f.a.hooks.storeFails.Store(true)
	stopped := f.a.hooks.arm("after lookup")
	first := f.a.resolve(t, k)
	<-stopped.reached
	f.truth.revoke(t, k)
	del(t, f.operator, k)
	settle(t, f.operator, f.a)
	late := f.a.resolve(t, k)
	<-late.joined
	close(stopped.resume)
	<-first.decided
	if d := <-late.decided; d.Outcome() == auth.Allow {
		t.Error("who joined after the DEL was told the old truth")
	}
	expect(t, "after the DEL", f.a.settled(t, k), auth.Revoked)
}

// Other proxies wait for whoever holds a lease, and so must not wait for one that has given up.
func TestALeaseEndsWithTheFlightThatTookIt(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, nil)
	k := f.truth.create(t)
	stopped := f.a.hooks.arm("after lease")
	given := f.a.resolve(t, k)
	<-stopped.reached
	f.a.source.hung.Store(true)
	close(stopped.resume)
	expect(t, "while the source hangs", <-given.decided, auth.Unavailable)
	began := time.Now()
	authtest.Eventually(t, "end of the lease", func() bool {
		return errors.Is(f.operator.Get(t.Context(), redisstore.DefaultKeyPrefix+k.prefix).Err(), redis.Nil)
	})
	if took := time.Since(began); took > time.Second {
		t.Errorf("the lease stood for another %v", took)
	}
}

// A proxy hears its own writes. One more GET tells them from a DEL; the lease needs none.
func TestAFillCostsOneMoreGet(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, nil)
	const fills = 50
	before := f.a.hooks.gets.Load()
	for range fills {
		k := f.truth.create(t)
		stopped := f.a.hooks.arm("after lookup")
		given := f.a.resolve(t, k)
		<-stopped.reached
		settle(t, f.operator, f.a) // the lease has been heard of, as it is where the source takes its time
		close(stopped.resume)
		expect(t, "cold", <-given.decided, auth.Allowed)
		settle(t, f.operator, f.a)
	}
	<-time.After(100 * time.Millisecond) // what was heard last is being confirmed
	if gets := f.a.hooks.gets.Load() - before; gets > 2*fills+fills/10 {
		t.Errorf("%d GETs for %d fills", gets, fills)
	} else {
		t.Logf("%d GETs for %d fills", gets, fills)
	}
}
