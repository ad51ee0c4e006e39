package auth_test

import (
	"strconv"
	"testing"
	"time"

	"keygate/proxy/auth"
	"keygate/proxy/auth/redisstore"
	"keygate/shared/trust"
	"keygate/tests/servers"
)

// idles watches proxies that nobody asks anything, and wants them to leave the source alone.
func idles(t *testing.T, proxies ...*proxy) {
	t.Helper()
	queries := func() (n int64) {
		for _, p := range proxies {
			n += p.source.queries.Load()
		}
		return n
	}
	const most = 12 // until each has seen that it is overwritten
	before := queries()
	for began := time.Now(); time.Since(began) < time.Second; {
		<-time.After(5 * time.Millisecond)
		if asked := queries() - before; asked > most {
			t.Fatalf("%d queries within %v, and nobody asks anything", asked, time.Since(began))
		}
	}
}

// After a fail-over to a server whose clock is behind, or a step of the clock, the floor is ahead of the time: every
// record is void as soon as it is written.
func TestAFloorAheadOfTheClockMakesNoStorm(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, nil)
	floor := time.Now().Add(time.Hour).UnixMilli()
	command(t, f.operator, "set", "keygate:floor", strconv.FormatInt(floor, 10))
	keys := []testKey{f.truth.create(t), f.truth.create(t), f.truth.create(t)}
	for _, k := range keys {
		for _, p := range f.both() {
			expect(t, "under the floor", p.settled(t, k), auth.Allowed)
		}
	}
	idles(t, f.both()...)
	f.truth.revoke(t, keys[0])
	f.invalidate(t, auth.Scope{Prefixes: []string{keys[0].prefix}})
	for _, p := range f.both() {
		expect(t, "revoked", p.settled(t, keys[0]), auth.Revoked)
		expect(t, "as before", p.settled(t, keys[1]), auth.Allowed)
	}
}

// Two fleets that share a Redis by mistake, or proxies whose secrets differ, find each other's records forged.
func TestProxiesWithDifferentSecretsDoNotOverwriteEachOtherForEver(t *testing.T) {
	t.Parallel()
	truth, server := newTruth(t), servers.StartRedis(t)
	var proxies []*proxy
	for _, id := range []string{"a", "b"} {
		secrets, err := trust.Parse("the secret of proxy " + id)
		if err != nil {
			t.Fatal(err)
		}
		proxies = append(proxies, newProxy(t, settings{truth: truth, redis: server, id: id, secrets: secrets}))
	}
	keys := []testKey{truth.create(t), truth.create(t), truth.create(t)}
	for range 3 {
		for _, k := range keys {
			for _, p := range proxies {
				expect(t, "beside the other fleet", p.settled(t, k), auth.Allowed)
			}
		}
	}
	idles(t, proxies...)
	operator := operator(t, server)
	truth.revoke(t, keys[0])
	command(t, operator, "del", redisstore.DefaultKeyPrefix+keys[0].prefix)
	settle(t, operator, proxies...)
	for _, p := range proxies {
		expect(t, "revoked", p.settled(t, keys[0]), auth.Revoked)
	}
}
