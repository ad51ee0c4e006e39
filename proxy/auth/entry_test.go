package auth

import (
	"crypto/sha256"
	"testing"
	"time"
)

var testKey = []byte("zap_live_000000000001_the secret of the key")

func presentedKey(pepper string) *presented {
	return &presented{key: testKey, sha: sha256.Sum256(testKey), pepper: []byte(pepper)}
}

func good() Key {
	return Key{OrgID: "org-1", Hash: sha256.Sum256(testKey), Alg: SHA256, Enabled: true, OrgEnabled: true}
}

func TestDecide(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	with := func(change func(*Key)) Key {
		key := good()
		change(&key)
		return key
	}
	f := func(name string, want Reason, org string, keys ...Key) {
		t.Helper()
		e := newEntry(&Record{Fill: "fill", Keys: keys}, note{}, lifetime{}, 0)
		if reason, got := e.decide(presentedKey("pepper"), now); reason != want || got != org {
			t.Errorf("%s: got %v, %q; want %v, %q", name, reason, got, want, org)
		}
	}
	other := with(func(k *Key) { k.Hash[0]++ })
	revoked := with(func(k *Key) { k.Enabled = false })
	expired := with(func(k *Key) { k.ExpiresAt = now })
	suspended := with(func(k *Key) { k.OrgEnabled = false })
	f("right", Allowed, "org-1", good())
	f("wrong", WrongSecret, "", other)
	f("revoked", Revoked, "", revoked)
	f("expires this millisecond", Expired, "", expired)
	f("expires the next", Allowed, "org-1", with(func(k *Key) { k.ExpiresAt = now.Add(time.Millisecond) }))
	f("suspended", Suspended, "", suspended)
	f("revoked and suspended", Revoked, "", with(func(k *Key) { k.Enabled, k.OrgEnabled = false, false }))
	f("hashed with the pepper", Allowed, "org-1", with(func(k *Key) {
		k.Alg, k.Hash = HMACSHA256, HashKey(HMACSHA256, []byte("pepper"), testKey)
	}))
	f("hashed with another pepper", WrongSecret, "", with(func(k *Key) {
		k.Alg, k.Hash = HMACSHA256, HashKey(HMACSHA256, []byte("salt"), testKey)
	}))
	f("several rows, the last is right", Allowed, "org-1", other, revoked, good())
	f("several rows, one fails only by its organization", Suspended, "", suspended, revoked, other)
}

func TestEntryGivesBackWhatWasPutIn(t *testing.T) {
	want := note{looks: 1, removes: 2, demotes: 3}
	e := newEntry(&Record{Fill: "fill", FilledAt: 7, Keys: []Key{good()}}, want, lifetime{freshUntil: 4, refreshAt: 5, readAt: -6}, flagShared)
	check := func(n note, life lifetime, shared, known bool) {
		t.Helper()
		if e.note() != n || e.freshUntil() != life.freshUntil || e.refreshAt() != life.refreshAt || e.readAt() != life.readAt ||
			e.is(flagShared) != shared || e.is(flagLastKnown) != known || e.fill() != "fill" || e.filledAt() != 7 {
			t.Errorf("got %v %d %d %d %q %d", e.note(), e.freshUntil(), e.refreshAt(), e.readAt(), e.fill(), e.filledAt())
		}
		if reason, _ := e.decide(presentedKey(""), time.Now()); reason != Allowed {
			t.Errorf("the key is %v", reason)
		}
	}
	check(want, lifetime{4, 5, -6}, true, false)
	e.restamp(note{8, 9, 10}, lifetime{11, 12, 13}, flagLastKnown)
	check(note{8, 9, 10}, lifetime{11, 12, 13}, false, true)
}

func TestDecideAllocatesNothing(t *testing.T) {
	e := newEntry(&Record{Fill: "fill", Keys: []Key{good()}}, note{}, lifetime{}, 0)
	p, now := presentedKey(""), time.Now()
	if got := testing.AllocsPerRun(100, func() { e.decide(p, now) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func TestCheckOrgID(t *testing.T) {
	long := make([]byte, maxOrgID+1)
	for i := range long {
		long[i] = 'a'
	}
	for id, want := range map[string]error{
		"a": nil, "A.z_0:-9": nil, "2c1ad1cf-3e5f-4d0c-9d2b-6f1a0f6f3d11": nil, string(long[:maxOrgID]): nil,
		"": ErrOrgID, "a b": ErrOrgID, "a\r\nX-Evil: 1": ErrOrgID, "ä": ErrOrgID, string(long): ErrOrgID, "a\x00": ErrOrgID,
	} {
		if got := CheckOrgID(id); got != want {
			t.Errorf("CheckOrgID(%q) = %v", id, got)
		}
	}
}
