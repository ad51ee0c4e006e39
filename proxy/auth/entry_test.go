package auth

import (
	"crypto/sha256"
	"reflect"
	"slices"
	"strings"
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
		reason, by := e.decide(presentedKey("pepper"), now)
		got := ""
		if reason == Allowed {
			got = e.takeOrg(by)
		}
		if reason != want || got != org {
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
	f("of an organization with a UUID", Allowed, aUUID, other, with(func(k *Key) { k.OrgID = aUUID }))
	f("several rows, one fails only by its organization", Suspended, "", suspended, revoked, other)
}

const aUUID = "0198c0de-5f6a-7b01-8c02-9d03ae04bf05"

func TestEntryGivesBackWhatWasPutIn(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	want := []Key{
		{OrgID: aUUID, Hash: Hash{1, 31: 2}, Alg: SHA256, Enabled: true, OrgEnabled: true},
		{OrgID: strings.ToUpper(aUUID), Hash: Hash{3}, Alg: HMACSHA256, OrgEnabled: true, ExpiresAt: at},
		{OrgID: strings.ReplaceAll(aUUID, "-", "."), Alg: SHA256, Enabled: true},
		{OrgID: strings.Repeat("o", maxOrgID), Alg: SHA256, ExpiresAt: time.UnixMilli(-1)},
		{OrgID: "7", Hash: Hash{4}, Alg: SHA256, Enabled: true, OrgEnabled: true},
	}
	rec := Record{Fill: "FILLING", FilledAt: 7, Keys: want}
	e := newEntry(&rec, note{}, lifetime{}, 0)
	check := func(n note, life lifetime, flags byte) {
		t.Helper()
		e.restamp(n, life, flags)
		e, ok := parseEntry(e)
		if got := (lifetime{e.freshUntil(), e.refreshAt(), e.readAt()}); !ok || e.note() != n || got != life || e.flags() != flags {
			t.Errorf("got %v %v %+v %x, want %v %+v %x", ok, e.note(), got, e.flags(), n, life, flags)
		}
		if e.fill() != "FILL" || e.filledAt() != 7 || !e.madeOf(&rec) || e.madeOf(&Record{Fill: "FULL", FilledAt: 7}) ||
			e.madeOf(&Record{Fill: rec.Fill, FilledAt: 8}) {
			t.Errorf("fill %q at %d", e.fill(), e.filledAt())
		}
		var got []Key
		for at := entryFixed; at < len(e); {
			var k entryKey
			k, at = e.key(at)
			got = append(got, *k.key())
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	now := time.Now().UnixMilli()
	check(note{1, 2, 3}, lifetime{now + 30_000, now + 24_000, now}, flagShared)
	check(note{1 << 31, 1<<32 - 1, 8}, lifetime{now + 1<<32 - 1, now, now}, flagLastKnown|flagContested|flagDoubted)
}

// A time before the reading is one that is over, and one that is too far off comes sooner.
func TestTimesThatAnEntryCannotHoldComeSooner(t *testing.T) {
	e := newEntry(&Record{Fill: "fill", Keys: []Key{good()}}, note{}, lifetime{freshUntil: 1 << 40, refreshAt: 99, readAt: 100}, 0)
	if e.freshUntil() != 100+1<<32-1 || e.refreshAt() != 100 {
		t.Errorf("fresh until %d, refreshed at %d", e.freshUntil(), e.refreshAt())
	}
}

func TestAnEntryOfOneKeyTakes86Bytes(t *testing.T) {
	key := good()
	key.OrgID = aUUID
	if e := newEntry(&Record{Fill: "FILLFILL", Keys: []Key{key}}, note{}, lifetime{}, 0); len(e) != 86 {
		t.Errorf("%d bytes", len(e))
	}
}

// Whatever memory holds, nothing reads past its end.
func FuzzParseEntry(f *testing.F) {
	key := good()
	for _, org := range []string{"org-1", aUUID} {
		key.OrgID = org
		f.Add([]byte(newEntry(&Record{Fill: "FILLFILL", Keys: []Key{key, key}}, note{1, 2, 3}, lifetime{4, 5, 6}, flagShared)))
		key.ExpiresAt = time.UnixMilli(1)
	}
	f.Add([]byte{})
	p := presentedKey("pepper")
	f.Fuzz(func(t *testing.T, value []byte) {
		e, ok := parseEntry(value)
		if !ok {
			return
		}
		_, _, _, _, _ = e.note(), e.freshUntil(), e.refreshAt(), e.fill(), e.is(flagShared)
		for at := entryFixed; at < len(e); {
			var k entryKey
			k, at = e.key(at)
			if org := slices.Clone(e).takeOrg(k); org != k.key().OrgID {
				t.Errorf("%q is taken as %q", k.key().OrgID, org)
			}
		}
		e.decide(p, time.UnixMilli(0))
	})
}

func TestDecideAllocatesNothing(t *testing.T) {
	key := good()
	key.OrgID = aUUID
	e := newEntry(&Record{Fill: "fill", Keys: []Key{key}}, note{}, lifetime{}, 0)
	p, now, mine := presentedKey(""), time.Now(), slices.Clone(e)
	if got := testing.AllocsPerRun(100, func() {
		copy(mine, e)
		if _, by := mine.decide(p, now); mine.takeOrg(by) != aUUID {
			t.Error("another organization")
		}
	}); got != 0 {
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
