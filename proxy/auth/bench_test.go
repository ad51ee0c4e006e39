package auth_test

import (
	"testing"
	"time"

	"keygate/proxy/auth"
	"keygate/tests/servers"
)

// newWarm returns a proxy without Redis that knows keys.
func newWarm(tb testing.TB, count int) (*proxy, []testKey) {
	tb.Helper()
	truth := newTruth(tb)
	p := newProxy(tb, settings{truth: truth, change: func(cfg *auth.Config) {
		cfg.SourceRate, cfg.CacheTTL = 1_000_000, time.Hour
	}})
	keys := make([]testKey, count)
	for i := range keys {
		keys[i] = mint(tb)
	}
	truth.insert(tb, keys...)
	for _, k := range keys {
		if d := p.settled(tb, k); d.Reason != auth.Allowed {
			tb.Fatal(d.Reason)
		}
	}
	return p, keys
}

// The two are bigcache's: the value that it copies, and the key that it compares.
func TestAMemoryHitAllocatesOnlyWhatBigcacheDoes(t *testing.T) {
	p, keys := newWarm(t, 1)
	ctx := t.Context()
	if got := testing.AllocsPerRun(1000, func() { p.Resolve(ctx, keys[0].text) }); got > 2 {
		t.Errorf("%v allocations", got)
	}
	unknown := mint(t)
	p.Resolve(ctx, unknown.text)
	if got := testing.AllocsPerRun(1000, func() { p.Resolve(ctx, unknown.text) }); got > 2 {
		t.Errorf("%v allocations for a key that is known not to exist", got)
	}
	malformed := []byte("nothing like a key")
	if got := testing.AllocsPerRun(1000, func() { p.Resolve(ctx, malformed) }); got != 0 {
		t.Errorf("%v allocations for a malformed key", got)
	}
}

func BenchmarkResolve(b *testing.B) {
	b.Run("tier=memory", func(b *testing.B) {
		p, keys := newWarm(b, 1000)
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			ctx := b.Context()
			for i := 0; pb.Next(); i++ {
				if p.Resolve(ctx, keys[i%len(keys)].text).Reason != auth.Allowed {
					b.Error("not allowed")
					return
				}
			}
		})
	})
	// The copy is in doubt each time, so that Redis is asked whether its record still stands there.
	b.Run("tier=redis", func(b *testing.B) {
		truth := newTruth(b)
		p := newProxy(b, settings{truth: truth, redis: servers.StartRedis(b), id: "a"})
		k := truth.create(b)
		p.settled(b, k)
		look := auth.Change{Verb: auth.Look, Scope: auth.Scope{Prefixes: []string{k.prefix}}}
		b.ReportAllocs()
		b.ResetTimer()
		for b.Loop() {
			p.Heard(look)
			if d := p.settled(b, k); d.Reason != auth.Allowed {
				b.Fatal(d.Reason)
			}
		}
	})
	b.Run("tier=source", func(b *testing.B) {
		truth := newTruth(b)
		p := newProxy(b, settings{truth: truth, change: func(cfg *auth.Config) { cfg.SourceRate = 1_000_000 }})
		k := truth.create(b)
		remove := auth.Change{Verb: auth.Remove, Scope: auth.Scope{Prefixes: []string{k.prefix}}}
		b.ReportAllocs()
		b.ResetTimer()
		for b.Loop() {
			p.Heard(remove)
			if d := p.settled(b, k); d.Reason != auth.Allowed {
				b.Fatal(d.Reason)
			}
		}
	})
}
