package auth_test

import (
	"crypto/sha256"
	"crypto/subtle"
	"syscall"
	"testing"
	"time"

	"github.com/allegro/bigcache/v3"

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
	const org = "0198c0de-5f6a-7b01-8c02-9d03ae04bf05" // kept as 16 bytes, and told as text
	p.truth.exec(t, "insert into organizations (id, name) values ($1, 'Three')", org)
	p.truth.exec(t, "update api_keys set org_id = $1", org)
	p.Changed(auth.Change{Verb: auth.Remove, Scope: auth.Scope{All: true}})
	p.settled(t, keys[0])
	if got := testing.AllocsPerRun(1000, func() {
		if d := p.Resolver.Resolve(ctx, keys[0].text, innocent); d.Principal.OrgID != org {
			t.Errorf("%v, %q", d.Reason, d.Principal.OrgID)
		}
	}); got > 2 {
		t.Errorf("%v allocations", got)
	}
	if got := testing.AllocsPerRun(1000, func() { p.Recall(keys[0].text, time.Now()) }); got > 2 {
		t.Errorf("%v allocations for what memory can tell", got)
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

// reportCPU reports the processor time of an operation, which other work on the machine moves less than the time that
// passes.
func reportCPU(b *testing.B) func() {
	used := func() time.Duration {
		var usage syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
			b.Fatal(err)
		}
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	before := used()
	return func() { b.ReportMetric(float64((used()-before).Nanoseconds())/float64(b.N), "cpu-ns/op") }
}

// BenchmarkResolve has beside a memory hit what it cannot do without: bigcache's look-up, and the hash of the key.
func BenchmarkResolve(b *testing.B) {
	b.Run("tier=memory/by=bigcache-and-sha256", benchBigcache)
	b.Run("tier=memory/by=auth", func(b *testing.B) {
		p, keys := newWarm(b, 1000)
		b.ReportAllocs()
		b.ResetTimer()
		defer reportCPU(b)()
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
	b.Run("tier=redis/by=auth", func(b *testing.B) {
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
	b.Run("tier=source/by=auth", func(b *testing.B) {
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

func benchBigcache(b *testing.B) {
	const recordBytes = 100 // about what a record in memory takes
	cache, err := bigcache.New(b.Context(), bigcache.Config{Shards: 1024, LifeWindow: time.Hour, MaxEntrySize: recordBytes})
	if err != nil {
		b.Fatal(err)
	}
	defer cache.Close()
	keys := make([]testKey, 1000)
	for i := range keys {
		keys[i] = mint(b)
		hash := sha256.Sum256(keys[i].text)
		if err := cache.Set(keys[i].prefix, append(hash[:], make([]byte, recordBytes-len(hash))...)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	defer reportCPU(b)()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			k := keys[i%len(keys)]
			kept, err := cache.Get(k.prefix)
			hash := sha256.Sum256(k.text)
			if err != nil || subtle.ConstantTimeCompare(kept[:len(hash)], hash[:]) != 1 {
				b.Error("not found")
				return
			}
		}
	})
}
