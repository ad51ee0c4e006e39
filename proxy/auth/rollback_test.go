package auth_test

import (
	"testing"
	"time"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/proxy/auth/redisstore"
)

// A Redis that goes back in time, because a fail-over lost its last writes or it was restarted from an old file, brings
// a record back that had been evicted. Who remembers better does not believe it, not even when nobody else can be asked.
func TestARecordThatComesBackIsNotBelieved(t *testing.T) {
	for _, way := range []struct {
		name string
		tell func(t *testing.T, f *fleet, k testKey)
	}{
		{"told by DEL", func(t *testing.T, f *fleet, k testKey) {
			del(t, f.operator, k)
			f.sees(t, k)
		}},
		{"told by DEL and asked for since", func(t *testing.T, f *fleet, k testKey) {
			del(t, f.operator, k)
			f.sees(t, k)
			for i, p := range f.both() {
				if d := p.Resolve(t.Context(), k.text); d.Outcome() == auth.Allow {
					t.Errorf("proxy %d: %v after the DEL", i, d.Reason)
				}
			}
			settle(t, f.operator, f.a, f.b)
		}},
		{"told by the change log", func(t *testing.T, f *fleet, k testKey) {
			for _, p := range f.both() {
				p.Changed(auth.Change{Verb: auth.Remove, Scope: auth.Scope{Prefixes: []string{k.prefix}}})
			}
			authtest.Eventually(t, "eviction", func() bool {
				return f.a.Explain(t.Context(), k.prefix).Redis.State != "evicting" &&
					f.b.Explain(t.Context(), k.prefix).Redis.State != "evicting"
			})
			settle(t, f.operator, f.a, f.b)
		}},
	} {
		for _, down := range []bool{false, true} {
			title := way.name + ", source up"
			if down {
				title = way.name + ", source down"
			}
			t.Run(title, func(t *testing.T) {
				t.Parallel()
				f := newFleet(t, false, nil)
				k, name, record := f.revokedSince(t)
				f.sourceDown(down)
				way.tell(t, f, k)
				command(t, f.operator, "set", name, record, "px", 600_000)
				settle(t, f.operator, f.a, f.b)
				for began := time.Now(); time.Since(began) < 500*time.Millisecond; {
					for i, p := range f.both() {
						p.Heard(auth.Change{Verb: auth.Demote, Scope: auth.Scope{All: true}}) // the subscription was lost, too
						if d := p.Resolve(t.Context(), k.text); d.Outcome() == auth.Allow {
							t.Fatalf("proxy %d: %v, last known: %v", i, d.Reason, d.LastKnown)
						}
					}
				}
				f.sourceDown(false)
				f.recovers(t, k, auth.Revoked)
			})
		}
	}
}

// A proxy that had to keep what it read after a remove to itself, because somebody held the lease, remembers the remove.
func TestARecordThatComesBackIsNotBelievedOverACopyThatIsNotShared(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, nil)
	k, name, record := f.revokedSince(t)
	command(t, f.operator, "set", name, `{"v":1,"lease":"of somebody who died"}`, "px", 60_000)
	f.sees(t, k)
	for _, p := range f.both() {
		expect(t, "asked without the lease", p.settled(t, k), auth.Revoked)
	}
	command(t, f.operator, "set", name, record, "px", 600_000)
	settle(t, f.operator, f.a, f.b)
	for _, p := range f.both() {
		expect(t, "with the old record", p.settled(t, k), auth.Revoked)
	}
}

// A flight that began before a remove keeps what it has read in the place of the tombstone, and so has to leave another.
func TestARecordThatComesBackIsNotBelievedThoughAFlightStoredItAfterTheRemove(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, nil)
	k := f.truth.create(t)
	name := redisstore.DefaultKeyPrefix + k.prefix
	storing := f.a.hooks.armFor("before store", k.prefix)
	asked := f.a.resolve(t, k)
	<-storing.reached
	f.truth.revoke(t, k)
	f.sourceDown(true)
	tell := f.hearsFirst(auth.Scope{Prefixes: []string{k.prefix}})
	close(storing.resume)
	expect(t, "asked before", <-asked.decided, auth.Unavailable)
	record := f.operator.Get(t.Context(), name).Val()
	tell()
	authtest.Eventually(t, "eviction", func() bool { return f.a.Explain(t.Context(), k.prefix).Redis.State == "absent" })
	command(t, f.operator, "set", name, record, "px", 600_000)
	settle(t, f.operator, f.a, f.b)
	for range 3 {
		expect(t, "with the old record", f.a.Resolve(t.Context(), k.text), auth.Unavailable)
	}
	f.sourceDown(false)
	f.recoversOn(t, f.a, k, auth.Revoked)
}

// What is kept while an old record stands in the place of a later one remembers the later one, for whoever reads again.
func TestARecordThatComesBackIsNotBelievedTheSecondTime(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, nil)
	k, name, record := f.revokedSince(t)
	del(t, f.operator, k)
	f.sees(t, k)
	expect(t, "after the DEL", f.a.settled(t, k), auth.Revoked)
	settle(t, f.operator, f.a, f.b)
	stopped := f.a.hooks.arm("before get")
	f.a.Heard(auth.Change{Verb: auth.Look, Scope: auth.Scope{Prefixes: []string{k.prefix}}})
	first := f.a.resolve(t, k)
	<-stopped.reached
	command(t, f.operator, "set", name, record, "px", 600_000)
	settle(t, f.operator, f.a, f.b) // a hears of it when it has noted the looks, and is yet to read
	close(stopped.resume)
	expect(t, "reading it first", <-first.decided, auth.Revoked)
	expect(t, "reading it again", f.a.settled(t, k), auth.Revoked)
}

// revokedSince returns a key that was revoked after both proxies had met it, which nobody has told of yet, and the record
// from before, with its name in Redis.
func (f *fleet) revokedSince(t *testing.T) (k testKey, name, record string) {
	t.Helper()
	k = f.known(t)
	name = redisstore.DefaultKeyPrefix + k.prefix
	record = f.operator.Get(t.Context(), name).Val()
	f.truth.revoke(t, k)
	return k, name, record
}

// sees waits until both proxies have seen that a key was taken out of Redis, which they look for by themselves.
func (f *fleet) sees(t *testing.T, k testKey) {
	t.Helper()
	for _, p := range f.both() {
		authtest.Eventually(t, "look at the DEL", func() bool {
			view := p.Explain(t.Context(), k.prefix).Memory
			return view.State == "removed" || len(view.Keys) > 0 && !view.Keys[0].Enabled
		})
	}
}

// What a process read before it was stopped is as old as the reading, however late it is stored.
func TestAProxyThatWasStoppedDoesNotTakeWhatItReadBeforeForFresh(t *testing.T) {
	t.Parallel()
	truth := newTruth(t)
	p := newProxy(t, settings{truth: truth, change: func(cfg *auth.Config) { cfg.CacheTTL = 200 * time.Millisecond }})
	k := truth.create(t)
	stopped := p.hooks.arm("after lookup")
	asked := p.resolve(t, k)
	<-stopped.reached
	<-time.After(300 * time.Millisecond)
	close(stopped.resume)
	expect(t, "asked before", <-asked.decided, auth.Allowed)
	if view := p.Explain(t.Context(), k.prefix).Memory; view.State != "expired" {
		t.Errorf("the copy is %s", view.State)
	}
}

// A proxy whose machine was suspended has heard nothing meanwhile, and its own clock does not tell.
func TestClocksThatJumpApartAreADoubt(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, nil)
	k := f.known(t)
	authtest.Eventually(t, "doubt", func() bool {
		f.a.hooks.ahead.Add(60_000) // from one probe to the next by a minute at least
		return f.a.Explain(t.Context(), k.prefix).Memory.State == "demoted"
	})
}

// After a flush in an outage nothing stands in Redis that a DEL could be heard by; but once somebody could ask the source
// again something does, and then a DEL counts, even for a proxy that has only what was last known.
func TestADelIsHeardByWhoIsAdrift(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, nil)
	k := f.known(t)
	f.sourceDown(true)
	for _, p := range f.both() {
		expect(t, "an unknown key", p.Resolve(t.Context(), mint(t).text), auth.Unavailable)
	}
	marks := []int{f.a.heard.Mark(), f.b.heard.Mark()}
	command(t, f.operator, "flushall")
	f.a.heard.Await(t, marks[0], auth.Demote, "")
	f.b.heard.Await(t, marks[1], auth.Demote, "")
	stays(t, "since the flush", f.both(), auth.Allowed, k)
	stopped := f.a.hooks.arm("before get") // of a's look at what b has filled
	f.b.source.down.Store(false)
	f.recoversOn(t, f.b, k, auth.Allowed)
	<-stopped.reached
	f.truth.revoke(t, k)
	f.sourceDown(true)
	del(t, f.operator, k)
	settle(t, f.operator, f.a, f.b)
	close(stopped.resume)
	for range 3 {
		for i, p := range f.both() {
			if d := p.Resolve(t.Context(), k.text); d.Outcome() == auth.Allow {
				t.Fatalf("proxy %d: %v after the DEL, last known: %v", i, d.Reason, d.LastKnown)
			}
		}
	}
	f.sourceDown(false)
	f.recovers(t, k, auth.Revoked)
}

// A proxy that starts in an outage, over a Redis that was flushed, looks for every key. The others hear of leases, which
// they could not tell from a DEL.
func TestAProxyThatStartsInAnOutageCostsNobodyWhatWasKnown(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, nil)
	keys := []testKey{f.known(t), f.known(t), f.known(t)}
	f.sourceDown(true)
	for _, p := range f.both() {
		expect(t, "an unknown key", p.Resolve(t.Context(), mint(t).text), auth.Unavailable)
	}
	marks := []int{f.a.heard.Mark(), f.b.heard.Mark()}
	command(t, f.operator, "flushall")
	f.a.heard.Await(t, marks[0], auth.Demote, "")
	f.b.heard.Await(t, marks[1], auth.Demote, "")
	third := newProxy(t, settings{truth: f.truth, redis: f.server, id: "c", broken: true})
	for _, k := range keys {
		expect(t, "on the new proxy", third.Resolve(t.Context(), k.text), auth.Unavailable)
	}
	stays(t, "elsewhere", f.both(), auth.Allowed, keys...)
}
