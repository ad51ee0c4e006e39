package auth_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/tests/servers"
)

// What one address may have looked up in vain.
const addressBurst, addressRate = 200, 50

var (
	innocent = netip.MustParseAddr("198.51.100.1")
	flooder  = netip.MustParseAddr("2001:db8:0:1::")
)

// within returns the i-th address of a /64, or of the i-th /64.
func within(network netip.Addr, i uint64) netip.Addr {
	b := network.As16()
	binary.BigEndian.PutUint64(b[8:], i)
	return netip.AddrFrom16(b)
}

func network(i uint64) netip.Addr {
	b := flooder.As16()
	binary.BigEndian.PutUint64(b[:8], 0x20020000<<32+i)
	return netip.AddrFrom16(b)
}

// spend has an address ask in vain until it may not any more, and keeps it at that.
func (p *proxy) spend(t *testing.T, from netip.Addr) {
	t.Helper()
	var spent atomic.Bool
	flood(t, func(ctx context.Context) {
		if p.Resolver.Resolve(ctx, mint(t).text, from).Reason == auth.Flooding {
			spent.Store(true)
		}
	}, func() {
		authtest.Eventually(t, "end of what the address may ask", spent.Load)
	})
	p.Owe(from)
}

func TestAFloodFromOneNetworkOf100000Addresses(t *testing.T) {
	t.Parallel()
	truth := newTruth(t)
	p := newProxy(t, settings{truth: truth, change: func(cfg *auth.Config) { cfg.SourceRate = 100_000 }})
	k := truth.create(t)
	expect(t, "before the flood", p.settled(t, k), auth.Allowed)
	before, began := p.source.queries.Load(), time.Now()
	var refused, denied atomic.Int64
	flood(t, func(ctx context.Context) {
		switch d := p.Resolver.Resolve(ctx, mint(t).text, within(flooder, rand.Uint64N(100_000))); {
		case d.Reason == auth.Flooding && d.Outcome() == auth.Unknown:
			refused.Add(1)
		case d.Reason == auth.NoSuchKey:
			denied.Add(1)
		case ctx.Err() == nil && d.Reason != auth.Unavailable: // who waited for the source in vain, on a busy machine
			t.Errorf("an unknown key: %v", d.Reason)
		}
	}, func() {
		for time.Since(began) < 2*time.Second || refused.Load() == 0 && time.Since(began) < authtest.Patience {
			expect(t, "a good key behind the flooding address", p.Resolver.Resolve(t.Context(), k.text, within(flooder, 7)), auth.Allowed)
		}
	})
	// Those that are under way when the allowance ends come on top: as many as attackers wait for an answer.
	most := int64(addressBurst + addressRate*time.Since(began)/time.Second + 400)
	if queries := p.source.queries.Load() - before; queries > most || refused.Load() == 0 || denied.Load() < addressBurst {
		t.Errorf("%d queries, at most %d; %d refused, %d denied", queries, most, refused.Load(), denied.Load())
	}
	cold := truth.create(t)
	expect(t, "a good key that nobody knows, from elsewhere", p.Resolver.Resolve(t.Context(), cold.text, innocent), auth.Allowed)
}

// Each network is within its limit, and all together are within that of prefixes never seen.
func TestAFloodFromManyNetworksMeetsTheBudgetOfAll(t *testing.T) {
	t.Parallel()
	const perSecond = 200
	truth := newTruth(t)
	p := newProxy(t, settings{truth: truth, change: func(cfg *auth.Config) { cfg.SourceRate = perSecond }})
	k := truth.create(t)
	expect(t, "before the flood", p.settled(t, k), auth.Allowed)
	before, began := p.source.queries.Load(), time.Now()
	var spent atomic.Int64
	flood(t, func(ctx context.Context) {
		if p.Resolver.Resolve(ctx, mint(t).text, network(rand.Uint64())).Reason == auth.Flooding {
			spent.Add(1)
		}
	}, func() {
		for time.Since(began) < 2*time.Second {
			expect(t, "a good key", p.Resolver.Resolve(t.Context(), k.text, innocent), auth.Allowed)
		}
	})
	most := int64(perSecond/2 + perSecond/2*(time.Since(began)/time.Second+1))
	if queries := p.source.queries.Load() - before; queries > most {
		t.Errorf("%d queries, at most %d", queries, most)
	}
	if spent.Load() > 0 {
		t.Errorf("%d networks that asked once were over their limit", spent.Load())
	}
}

// Whatever this proxy or another has seen works as ever; what only the source could tell does not, until the address has
// been quiet, and is not called wrong.
func TestWhatAnAddressThatIsSpentCanUse(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, func(cfg *auth.Config) { cfg.SourceRate = 100_000 })
	memory, redis, cold := f.truth.create(t), f.truth.create(t), f.truth.create(t)
	expect(t, "in memory", f.a.settled(t, memory), auth.Allowed)
	expect(t, "in Redis", f.b.settled(t, redis), auth.Allowed)
	negative := mint(t)
	f.a.spend(t, flooder)
	expect(t, "unknown, to the innocent", f.a.settled(t, negative), auth.NoSuchKey)
	ask := func(what string, k testKey, want auth.Reason) {
		t.Helper()
		expect(t, what, f.a.Resolver.Resolve(t.Context(), k.text, flooder), want)
	}
	ask("in memory", memory, auth.Allowed)
	ask("in Redis", redis, auth.Allowed)
	ask("known not to exist", negative, auth.NoSuchKey)
	before := f.a.source.queries.Load()
	ask("known to the source alone", cold, auth.Flooding)
	ask("known to nobody", mint(t), auth.Flooding)
	if asked := f.a.source.queries.Load() - before; asked != 0 {
		t.Errorf("the source was asked %d times", asked)
	}
	change := auth.Change{Verb: auth.Remove, Scope: auth.Scope{Prefixes: []string{memory.prefix}}}
	f.a.Changed(change)
	ask("known to have changed", memory, auth.Allowed)
}

// A flooder that asks for somebody's prefix again and again does not keep them from being looked up.
func TestNobodyIsRefusedForWhomTheyWaitWith(t *testing.T) {
	t.Parallel()
	truth := newTruth(t)
	p := newProxy(t, settings{truth: truth, redis: servers.StartRedis(t), id: "a", change: func(cfg *auth.Config) { cfg.SourceRate = 100_000 }})
	k := truth.create(t)
	p.spend(t, flooder)
	stopped := p.hooks.arm("after get")
	refused := make(chan auth.Decision, 1)
	go func() { refused <- p.Resolver.Resolve(t.Context(), k.text, flooder) }()
	<-stopped.reached
	expect(t, "an innocent beside the flooder", p.Resolver.Resolve(t.Context(), k.text, innocent), auth.Allowed)
	close(stopped.resume)
	if d := <-refused; d.Outcome() == auth.Deny {
		t.Errorf("the flooder was told %v", d.Reason)
	}
}

// To doubt a copy because of a wrong secret is to look up in vain, too.
func TestWrongSecretsAreChargedWhenTheSourceWasAsked(t *testing.T) {
	t.Parallel()
	truth := newTruth(t)
	p := newProxy(t, settings{truth: truth, change: func(cfg *auth.Config) {
		cfg.Format.ForeignPrefix, cfg.HashesMayChange, cfg.SourceRate = 21, true, 100_000
	}})
	keys := make([]testKey, 5*addressBurst)
	for i := range keys {
		keys[i] = mint(t)
	}
	truth.insert(t, keys...)
	for _, k := range keys {
		expect(t, "before", p.settled(t, k), auth.Allowed)
	}
	<-time.After(1100 * time.Millisecond) // until the copies are old enough to be doubted
	before, began := p.source.queries.Load(), time.Now()
	for _, k := range keys {
		wrong := []byte(k.prefix + "_" + strings.Repeat("x", 38))
		expect(t, "a wrong secret", p.Resolver.Resolve(t.Context(), wrong, flooder), auth.WrongSecret)
	}
	most := int64(addressBurst + addressRate*(time.Since(began)/time.Second+1))
	if asked := p.source.queries.Load() - before; asked < addressBurst || asked > most {
		t.Errorf("the source was asked %d times, at most %d", asked, most)
	}
	expect(t, "the right one, from there", p.Resolver.Resolve(t.Context(), keys[0].text, flooder), auth.Allowed)
}

func TestACrowdWithOneUnknownKeyIsChargedForOneLookUp(t *testing.T) {
	t.Parallel()
	truth := newTruth(t)
	p := newProxy(t, settings{truth: truth})
	unknown, cold := mint(t), truth.create(t)
	stopped := p.hooks.arm("before lookup")
	var crowd sync.WaitGroup
	for i := range 2 * addressBurst {
		ctx := newWaiting(t.Context())
		crowd.Go(func() {
			if d := p.Resolver.Resolve(ctx, unknown.text, flooder); d.Outcome() == auth.Allow {
				t.Error("allowed")
			}
		})
		if <-ctx.joined; i == 0 {
			<-stopped.reached
		}
	}
	close(stopped.resume)
	crowd.Wait()
	expect(t, "a good key that only the source knows", p.Resolver.Resolve(t.Context(), cold.text, flooder), auth.Allowed)
}
