package authtest

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keygate/proxy/auth"
)

// CacheFixture is a Cache and what an outsider may do to it.
type CacheFixture struct {
	Cache auth.Cache
	// Del takes out what stands under a prefix, as an operator would.
	Del func(prefix string)
	// Spoil changes the record under a prefix so that it is none of ours any more.
	Spoil func(prefix string)
	// Occupy puts something else than a record of ours under a prefix.
	Occupy func(prefix string)
	// Left returns how long what stands under a prefix will be kept.
	Left func(prefix string) time.Duration
	// Stale is how long a record is kept after it has ceased to be fresh.
	Stale time.Duration
}

// TestCache tests an auth.Cache. Each part opens one that is empty.
func TestCache(t *testing.T, open func(*testing.T) CacheFixture) {
	for _, part := range []struct {
		name string
		test func(*testing.T, CacheFixture)
	}{
		{"what was never stored is absent", neverStored},
		{"a lease is exclusive", leaseIsExclusive},
		{"one of many leases at once wins", oneLeaseWins},
		{"a lease ends within two seconds", leaseEnds},
		{"a record is read as it was stored", recordIsReadAsStored},
		{"a record is kept while it may be the last known answer", recordIsKept},
		{"a DEL defeats a fill", delDefeatsFill},
		{"a DEL and another's lease defeat a fill", othersLeaseDefeatsFill},
		{"a record is replaced only by who has seen it", replacing},
		{"one of many replacements at once wins", oneStoreWins},
		{"a release removes only what was seen", releasing},
		{"evicting prefixes leaves others", evictingPrefixes},
		{"evicting takes leases out too", evictingLeases},
		{"evicting all voids what was filled before", evictingAll},
		{"a fill from before an eviction of all is void", fillAcrossEvictingAll},
		{"a spoilt record is forged and can be replaced", spoiltRecord},
		{"a foreign value is left alone", foreignValue},
		{"a call whose context has ended fails", endedContext},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, open(t)) })
	}
}

// NewRecord returns a record with every member set, filled at now.
func NewRecord(now int64) auth.Record {
	return auth.Record{
		Fill: "FILL" + time.UnixMilli(now).Format("150405"), FilledAt: now, ReadAt: now + 3, FreshUntil: now + 300_003,
		Keys: []auth.Key{
			{
				OrgID: "0198c0de-0000-7000-8000-000000000001", Hash: auth.Hash{1, 2, 31: 3}, Alg: auth.SHA256,
				Enabled: true, OrgEnabled: true,
			},
			{
				OrgID: "Org.2:b_c", Hash: auth.Hash{0xff}, Alg: auth.HMACSHA256,
				OrgEnabled: true, ExpiresAt: time.UnixMilli(now + 1).UTC(),
			},
			{OrgID: "3", Alg: auth.SHA256, Enabled: true, ExpiresAt: time.UnixMilli(0).UTC()},
		},
	}
}

func get(t *testing.T, c auth.Cache, prefix string, want auth.State) auth.Reading {
	t.Helper()
	r, err := c.Get(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	if r.State != want {
		t.Fatalf("Get: state %d, want %d", r.State, want)
	}
	many, err := c.GetMany(t.Context(), []string{"nobody's", prefix})
	if err != nil {
		t.Fatal(err)
	}
	if len(many) != 2 || many[0].State != auth.Absent || many[1].State != want || many[1].Token != r.Token ||
		many[1].Now < r.Now {
		t.Fatalf("GetMany: %+v, where Get says %+v", many, r)
	}
	return r
}

func lease(t *testing.T, c auth.Cache, prefix string, want auth.State) auth.Reading {
	t.Helper()
	r, err := c.Lease(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	if r.State != want {
		t.Fatalf("Lease: state %d, want %d", r.State, want)
	}
	return r
}

func store(t *testing.T, c auth.Cache, prefix string, expect auth.Token, rec auth.Record, want bool) {
	t.Helper()
	stored, err := c.Store(t.Context(), prefix, expect, rec)
	if err != nil {
		t.Fatal(err)
	}
	if stored != want {
		t.Fatalf("Store: %v, want %v", stored, want)
	}
}

func release(t *testing.T, c auth.Cache, prefix string, expect auth.Token, want bool) {
	t.Helper()
	released, err := c.Release(t.Context(), prefix, expect)
	if err != nil {
		t.Fatal(err)
	}
	if released != want {
		t.Fatalf("Release: %v, want %v", released, want)
	}
}

func evict(t *testing.T, c auth.Cache, scope auth.Scope) {
	t.Helper()
	if err := c.Evict(t.Context(), scope); err != nil {
		t.Fatal(err)
	}
}

// fill leases and stores, and returns what Get then reads.
func fill(t *testing.T, c auth.Cache, prefix string) auth.Reading {
	t.Helper()
	leased := lease(t, c, prefix, auth.Absent)
	store(t, c, prefix, leased.Token, NewRecord(leased.Now), true)
	return get(t, c, prefix, auth.Held)
}

func neverStored(t *testing.T, f CacheFixture) {
	first := get(t, f.Cache, "p", auth.Absent)
	if first.Token != "" {
		t.Error("an absent entry has a token")
	}
	if second := get(t, f.Cache, "p", auth.Absent); second.Now < first.Now {
		t.Errorf("the clock went from %d back to %d", first.Now, second.Now)
	}
	if off := time.Since(time.UnixMilli(first.Now)).Abs(); off > time.Minute {
		t.Errorf("the clock is %v off, on one machine", off)
	}
}

func leaseIsExclusive(t *testing.T, f CacheFixture) {
	mine := lease(t, f.Cache, "p", auth.Absent)
	if mine.Token == "" || mine.Now == 0 {
		t.Fatal("a lease lacks its token or time")
	}
	theirs := lease(t, f.Cache, "p", auth.Leased)
	if theirs.Token != mine.Token || get(t, f.Cache, "p", auth.Leased).Token != mine.Token {
		t.Error("the lease that stands there is not named by the token of who got it")
	}
	release(t, f.Cache, "p", mine.Token, true)
	if again := lease(t, f.Cache, "p", auth.Absent); again.Token == mine.Token {
		t.Error("two leases have the same token")
	}
	lease(t, f.Cache, "other", auth.Absent)
}

const crowd = 16

func oneLeaseWins(t *testing.T, f CacheFixture) {
	if won := race(t, func(int) bool {
		r, err := f.Cache.Lease(t.Context(), "p")
		return err == nil && r.State == auth.Absent
	}); won != 1 {
		t.Errorf("%d of %d got the lease", won, crowd)
	}
}

// race runs do by a crowd at once and counts how many it is true for.
func race(t *testing.T, do func(i int) bool) int {
	t.Helper()
	var won atomic.Int32
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range crowd {
		wg.Go(func() {
			<-start
			if do(i) {
				won.Add(1)
			}
		})
	}
	close(start)
	wg.Wait()
	return int(won.Load())
}

func leaseEnds(t *testing.T, f CacheFixture) {
	lease(t, f.Cache, "p", auth.Absent)
	if left := f.Left("p"); left <= time.Second || left > 2*time.Second {
		t.Errorf("a lease of two seconds is kept for another %v", left)
	}
}

func recordIsReadAsStored(t *testing.T, f CacheFixture) {
	leased := lease(t, f.Cache, "p", auth.Absent)
	rec := NewRecord(leased.Now)
	store(t, f.Cache, "p", leased.Token, rec, true)
	rec.Keys[0].OrgID = "changed-after-storing"
	got := get(t, f.Cache, "p", auth.Held)
	if want := NewRecord(leased.Now); !reflect.DeepEqual(got.Record, want) {
		t.Errorf("got  %+v\nwant %+v", got.Record, want)
	}
	again := lease(t, f.Cache, "p", auth.Held)
	if !reflect.DeepEqual(again.Record, got.Record) || again.Token != got.Token {
		t.Error("Lease reads another record than Get")
	}
}

func recordIsKept(t *testing.T, f CacheFixture) {
	got := fill(t, f.Cache, "p")
	want := time.Duration(got.Record.FreshUntil-got.Now)*time.Millisecond + f.Stale
	if left := f.Left("p"); left > want+time.Second || left < want-Patience {
		t.Errorf("a record is kept for another %v, want %v", left, want)
	}
	past := got.Record
	past.FreshUntil = got.Now - 2*f.Stale.Milliseconds() - 1
	store(t, f.Cache, "p", got.Token, past, true)
	if left := f.Left("p"); left > time.Second {
		t.Errorf("a record whose time is over is kept for another %v", left)
	}
}

func delDefeatsFill(t *testing.T, f CacheFixture) {
	leased := lease(t, f.Cache, "p", auth.Absent)
	f.Del("p")
	store(t, f.Cache, "p", leased.Token, NewRecord(leased.Now), false)
	get(t, f.Cache, "p", auth.Absent)
	held := fill(t, f.Cache, "p")
	f.Del("p")
	store(t, f.Cache, "p", held.Token, NewRecord(held.Now), false)
	get(t, f.Cache, "p", auth.Absent)
}

func othersLeaseDefeatsFill(t *testing.T, f CacheFixture) {
	mine := lease(t, f.Cache, "p", auth.Absent)
	f.Del("p")
	theirs := lease(t, f.Cache, "p", auth.Absent)
	store(t, f.Cache, "p", mine.Token, NewRecord(mine.Now), false)
	release(t, f.Cache, "p", mine.Token, false)
	store(t, f.Cache, "p", theirs.Token, NewRecord(theirs.Now), true)
}

func replacing(t *testing.T, f CacheFixture) {
	first := fill(t, f.Cache, "p")
	next := NewRecord(first.Now)
	next.Fill = "NEXT"
	store(t, f.Cache, "p", first.Token, next, true)
	if got := get(t, f.Cache, "p", auth.Held); got.Record.Fill != "NEXT" {
		t.Errorf("fill %q", got.Record.Fill)
	}
	next.Fill = "LATE"
	store(t, f.Cache, "p", first.Token, next, false)
	store(t, f.Cache, "absent", first.Token, next, false)
	if got := get(t, f.Cache, "p", auth.Held); got.Record.Fill != "NEXT" {
		t.Errorf("fill %q after a replacement that came late", got.Record.Fill)
	}
}

func oneStoreWins(t *testing.T, f CacheFixture) {
	seen := fill(t, f.Cache, "p")
	if won := race(t, func(i int) bool {
		rec := NewRecord(seen.Now)
		rec.Fill = string(rune('A' + i))
		stored, err := f.Cache.Store(t.Context(), "p", seen.Token, rec)
		return err == nil && stored
	}); won != 1 {
		t.Errorf("%d of %d replaced the same record", won, crowd)
	}
}

func releasing(t *testing.T, f CacheFixture) {
	leased := lease(t, f.Cache, "p", auth.Absent)
	store(t, f.Cache, "p", leased.Token, NewRecord(leased.Now), true)
	release(t, f.Cache, "p", leased.Token, false)
	held := get(t, f.Cache, "p", auth.Held)
	release(t, f.Cache, "p", held.Token, true)
	get(t, f.Cache, "p", auth.Absent)
	release(t, f.Cache, "p", held.Token, false)
}

func evictingPrefixes(t *testing.T, f CacheFixture) {
	for _, prefix := range []string{"a", "b", "c"} {
		fill(t, f.Cache, prefix)
	}
	evict(t, f.Cache, auth.Scope{})
	evict(t, f.Cache, auth.Scope{Prefixes: []string{"a", "c", "never-stored"}})
	evict(t, f.Cache, auth.Scope{Prefixes: []string{"a"}})
	get(t, f.Cache, "a", auth.Absent)
	get(t, f.Cache, "b", auth.Held)
	get(t, f.Cache, "c", auth.Absent)
	many := make([]string, 12_000)
	for i := range many {
		many[i] = "many-" + time.Duration(i).String()
	}
	fill(t, f.Cache, many[0])
	fill(t, f.Cache, many[11_999])
	evict(t, f.Cache, auth.Scope{Prefixes: many})
	get(t, f.Cache, many[0], auth.Absent)
	get(t, f.Cache, many[11_999], auth.Absent)
}

func evictingLeases(t *testing.T, f CacheFixture) {
	leased := lease(t, f.Cache, "p", auth.Absent)
	evict(t, f.Cache, auth.Scope{Prefixes: []string{"p"}})
	store(t, f.Cache, "p", leased.Token, NewRecord(leased.Now), false)
	get(t, f.Cache, "p", auth.Absent)
}

func evictingAll(t *testing.T, f CacheFixture) {
	fill(t, f.Cache, "p")
	evict(t, f.Cache, auth.Scope{All: true})
	void := get(t, f.Cache, "p", auth.Forged)
	if void.Record.Fill != "" {
		t.Error("a void record is shown")
	}
	if lease(t, f.Cache, "p", auth.Forged).Token != void.Token {
		t.Error("Lease names another value than Get")
	}
	// Within the millisecond of the eviction, fills are void too.
	rec := NewRecord(get(t, f.Cache, "p", auth.Forged).Now + 2)
	store(t, f.Cache, "p", void.Token, rec, true)
	get(t, f.Cache, "p", auth.Held)
	evict(t, f.Cache, auth.Scope{All: true})
	evict(t, f.Cache, auth.Scope{All: true})
	get(t, f.Cache, "q", auth.Absent)
}

func fillAcrossEvictingAll(t *testing.T, f CacheFixture) {
	leased := lease(t, f.Cache, "p", auth.Absent)
	evict(t, f.Cache, auth.Scope{All: true})
	if _, err := f.Cache.Store(t.Context(), "p", leased.Token, NewRecord(leased.Now)); err != nil {
		t.Fatal(err)
	}
	if r, err := f.Cache.Get(t.Context(), "p"); err != nil || r.State == auth.Held {
		t.Errorf("state %d, error %v: a record read before the eviction is believed after it", r.State, err)
	}
}

func spoiltRecord(t *testing.T, f CacheFixture) {
	old := fill(t, f.Cache, "p")
	f.Spoil("p")
	spoilt := get(t, f.Cache, "p", auth.Forged)
	if spoilt.Record.Fill != "" || spoilt.Token == "" || spoilt.Token == old.Token {
		t.Fatal("a spoilt record is shown, or has no token of its own")
	}
	lease(t, f.Cache, "p", auth.Forged)
	store(t, f.Cache, "p", old.Token, NewRecord(old.Now), false)
	store(t, f.Cache, "p", spoilt.Token, NewRecord(old.Now), true)
	get(t, f.Cache, "p", auth.Held)
	f.Spoil("p")
	release(t, f.Cache, "p", get(t, f.Cache, "p", auth.Forged).Token, true)
	get(t, f.Cache, "p", auth.Absent)
}

func foreignValue(t *testing.T, f CacheFixture) {
	held := fill(t, f.Cache, "p")
	f.Occupy("p")
	if foreign := get(t, f.Cache, "p", auth.Foreign); foreign.Token != "" {
		t.Error("a foreign value has a token by which it could be replaced")
	}
	lease(t, f.Cache, "p", auth.Foreign)
	store(t, f.Cache, "p", held.Token, NewRecord(held.Now), false)
	release(t, f.Cache, "p", held.Token, false)
	get(t, f.Cache, "p", auth.Foreign)
}

func endedContext(t *testing.T, f CacheFixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func() error{
		"Get":       func() error { _, err := f.Cache.Get(ctx, "p"); return err },
		"GetMany":   func() error { _, err := f.Cache.GetMany(ctx, []string{"p", "q"}); return err },
		"Lease":     func() error { _, err := f.Cache.Lease(ctx, "p"); return err },
		"Store":     func() error { _, err := f.Cache.Store(ctx, "p", "x", NewRecord(1)); return err },
		"Release":   func() error { _, err := f.Cache.Release(ctx, "p", "x"); return err },
		"Evict":     func() error { return f.Cache.Evict(ctx, auth.Scope{Prefixes: []string{"p"}}) },
		"Evict all": func() error { return f.Cache.Evict(ctx, auth.Scope{All: true}) },
	} {
		if call() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
