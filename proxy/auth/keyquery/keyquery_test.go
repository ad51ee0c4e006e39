package keyquery_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"keygate/proxy/auth"
	"keygate/proxy/auth/keyquery"
)

func TestColumnsAreCheckedByName(t *testing.T) {
	allow := func(names ...string) {
		t.Helper()
		if err := keyquery.CheckColumns(names); err != nil {
			t.Errorf("%v: %v", names, err)
		}
	}
	deny := func(want string, names ...string) {
		t.Helper()
		err := keyquery.CheckColumns(names)
		if !errors.Is(err, keyquery.Err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q in an Err", names, err, want)
		}
	}
	allow("org_id", "key_hash")
	allow("key_hash", "expires_at", "org_id", "enabled", "hash_alg", "org_enabled")
	deny("no column key_hash", "org_id")
	deny("no column org_id", "key_hash", "enabled")
	deny(`a column "id"`, "id", "key_hash")
	deny("twice", "org_id", "key_hash", "org_id")
	deny(`a column ""`, "org_id", "key_hash", "")
}

func TestRowsBecomeKeys(t *testing.T) {
	const digits = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	var raw auth.Hash
	for i := range raw {
		raw[i] = byte(i)
	}
	expiry := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	plain := auth.Key{OrgID: "42", Hash: raw, Alg: auth.SHA256, Enabled: true, OrgEnabled: true}
	gives := func(want auth.Key, row ...any) {
		t.Helper()
		columns, values := split(row)
		got, ok, err := keyquery.Key(columns, values, auth.SHA256)
		if err != nil || !ok || got != want {
			t.Errorf("%v: got %+v, %v, %v, want %+v", row, got, ok, err, want)
		}
	}
	changed := func(change func(*auth.Key)) auth.Key {
		key := plain
		change(&key)
		return key
	}
	gives(plain, "org_id", "42", "key_hash", raw[:])
	gives(plain, "org_id", int64(42), "key_hash", digits)
	gives(plain, "key_hash", `\x`+strings.ToUpper(digits), "org_id", "42")
	gives(plain, "org_id", "42", "key_hash", raw[:], "enabled", nil, "org_enabled", nil, "expires_at", nil, "hash_alg", nil)
	gives(plain, "org_id", "42", "key_hash", raw[:], "enabled", int64(1), "org_enabled", true)
	gives(changed(func(k *auth.Key) { k.Enabled = false }), "org_id", "42", "key_hash", raw[:], "enabled", int64(0))
	gives(changed(func(k *auth.Key) { k.OrgEnabled = false }), "org_id", "42", "key_hash", raw[:], "org_enabled", false)
	gives(changed(func(k *auth.Key) { k.ExpiresAt = expiry }), "org_id", "42", "key_hash", raw[:], "expires_at", expiry)
	gives(changed(func(k *auth.Key) { k.Alg = auth.HMACSHA256 }), "org_id", "42", "key_hash", raw[:], "hash_alg", "hmac-sha256")
}

func TestARowWithoutAHashHoldsNoKey(t *testing.T) {
	if _, ok, err := keyquery.Key([]string{"org_id", "key_hash"}, []any{"o", nil}, auth.SHA256); ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
}

func TestRowsThatCannotBeUnderstoodAreErrorsWithoutTheirValues(t *testing.T) {
	const secret = "5ec4e7"
	for _, row := range [][]any{
		{"org_id", nil, "key_hash", make([]byte, 32)},
		{"org_id", "", "key_hash", make([]byte, 32)},
		{"org_id", "a b", "key_hash", make([]byte, 32)},
		{"org_id", "o\r\nX-Org-Id: p", "key_hash", make([]byte, 32)},
		{"org_id", strings.Repeat("o", 129), "key_hash", make([]byte, 32)},
		{"org_id", "o", "key_hash", secret},
		{"org_id", "o", "key_hash", secret + "!"},
		{"org_id", "o", "key_hash", []byte(secret)},
		{"org_id", "o", "key_hash", int64(7)},
		{"org_id", "o", "key_hash", make([]byte, 32), "enabled", int64(2)},
		{"org_id", "o", "key_hash", make([]byte, 32), "org_enabled", "yes"},
		{"org_id", "o", "key_hash", make([]byte, 32), "expires_at", "tomorrow"},
		{"org_id", "o", "key_hash", make([]byte, 32), "hash_alg", "md5"},
		{"org_id", "o", "key_hash", make([]byte, 32), "hash_alg", int64(1)},
	} {
		columns, values := split(row)
		_, ok, err := keyquery.Key(columns, values, auth.SHA256)
		if !errors.Is(err, keyquery.ErrRow) || ok {
			t.Errorf("%v: got %v, %v, want ErrRow", row, ok, err)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%v is quoted in %q", row, err)
		}
	}
}

func split(row []any) (columns []string, values []any) {
	for i := 0; i < len(row); i += 2 {
		columns = append(columns, row[i].(string))
		values = append(values, row[i+1])
	}
	return columns, values
}
