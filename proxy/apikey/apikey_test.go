package apikey_test

import (
	"bytes"
	"strings"
	"testing"

	"keygate/proxy/apikey"
)

// A key made by hand from the definition in the package comment: CRC-32 of "zap_live_000000000001_" and 32 "s".
const fixed = "zap_live_000000000001_ssssssssssssssssssssssssssssssss"

func TestMintedKeysSplitIntoTheirPrefix(t *testing.T) {
	for range 1000 {
		key, prefix, err := apikey.Mint("zap", "live")
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := (apikey.Format{}).Split([]byte(key)); !ok || string(got) != prefix {
			t.Fatalf("Split(%q) = %q, %v; want %q", key, got, ok, prefix)
		}
		if !strings.HasPrefix(prefix, "zap_live_") || len(prefix) != len("zap_live_")+12 || len(key) != len(prefix)+1+38 {
			t.Fatalf("key %q, prefix %q: not of the documented shape", key, prefix)
		}
	}
}

func TestMintRefusesLabelsThatWouldNotSplit(t *testing.T) {
	for _, label := range []string{"", "a_b", "a-b", "ä", strings.Repeat("a", 17)} {
		if _, _, err := apikey.Mint(label, "live"); err == nil {
			t.Errorf("Mint(%q, live) succeeded", label)
		}
		if _, _, err := apikey.Mint("zap", label); err == nil {
			t.Errorf("Mint(zap, %q) succeeded", label)
		}
	}
}

// Ensure every single changed byte is refused: that is all a checksum is for.
func TestChangedBytesAreMalformed(t *testing.T) {
	key, _, err := apikey.Mint("zap", "live")
	if err != nil {
		t.Fatal(err)
	}
	for i := range key {
		changed := []byte(key)
		changed[i] ^= 1
		if _, ok := (apikey.Format{}).Split(changed); ok {
			t.Errorf("%q, changed at %d, was accepted", changed, i)
		}
	}
}

func TestSplitOwn(t *testing.T) {
	malformed := func(key string) {
		t.Helper()
		if _, ok := (apikey.Format{}).Split([]byte(key)); ok {
			t.Errorf("%q was accepted", key)
		}
	}
	if prefix, ok := (apikey.Format{}).Split([]byte(fixed + "3syhjP")); !ok || string(prefix) != fixed[:21] {
		t.Errorf("the fixed key gave %q, %v", prefix, ok)
	}
	malformed("")
	malformed("_")
	malformed(fixed)
	malformed(fixed + "000000")
	malformed(strings.Repeat("a", 1<<20))
	malformed("zap_live_0_" + fixed)
}

func TestSplitForeign(t *testing.T) {
	format := apikey.Format{ForeignPrefix: 17}
	key := "zap_test_00000001_" + strings.Repeat("s", 24) + "00000001"
	if prefix, ok := format.Split([]byte(key)); !ok || string(prefix) != "zap_test_00000001" {
		t.Errorf("Split(%q) = %q, %v", key, prefix, ok)
	}
	for _, key := range []string{"", key[:17+15], key[:30] + "\x00" + key[30:], key + "ä", strings.Repeat("s", 513)} {
		if _, ok := format.Split([]byte(key)); ok {
			t.Errorf("%q was accepted", key)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte(fixed+"3syhjP"), 0)
	f.Add([]byte("zap_test_00000001_ssssssssssssssssssssssss00000001"), 17)
	f.Fuzz(func(t *testing.T, key []byte, length int) {
		if length != 0 && (length < apikey.MinForeignPrefix || length > apikey.MaxLength) {
			return
		}
		prefix, ok := apikey.Format{ForeignPrefix: length}.Split(key)
		if ok && (len(prefix) == 0 || len(prefix) >= len(key) || !bytes.HasPrefix(key, prefix)) {
			t.Errorf("Split(%q) = %q", key, prefix)
		}
	})
}
