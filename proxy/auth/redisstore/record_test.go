package redisstore

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/shared/trust"
)

const testSecret, otherSecret = "a secret of at least sixteen bytes", "another secret just as long"

func newCodec(tb testing.TB, secret string) codec {
	tb.Helper()
	secrets, err := trust.Parse(secret)
	if err != nil {
		tb.Fatal(err)
	}
	return codec{secrets: secrets, maxTTL: 5 * time.Minute}
}

func encode(tb testing.TB, c codec, key string, rec auth.Record) string {
	tb.Helper()
	value, err := c.encode(key, &rec)
	if err != nil {
		tb.Fatal(err)
	}
	return string(value)
}

const testNow = 1_700_000_000_000

func TestARecordIsWrittenInTheFormOfTheDocumentation(t *testing.T) {
	rec := auth.Record{
		Fill: "F", FilledAt: 1, ReadAt: 2, FreshUntil: 3,
		Keys: []auth.Key{{OrgID: "o", Hash: auth.Hash{0xab}, Alg: auth.SHA256, Enabled: true, ExpiresAt: time.UnixMilli(4)}},
	}
	want := `{"v":1,"fill":"F","filled_at":1,"read_at":2,"fresh_until":3,"keys":[{"org_id":"o","hash":"ab` +
		strings.Repeat("00", 31) + `","alg":"sha256","enabled":true,"org_enabled":false,"expires_at":4}]`
	if got := encode(t, newCodec(t, ""), "k", rec); got != want+"}" {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	sealed := encode(t, newCodec(t, testSecret), "k", rec)
	if !strings.HasPrefix(sealed, want+`,"mac":"`) || len(sealed) != len(want)+len(`,"mac":""}`)+64 {
		t.Errorf("sealed: %s", sealed)
	}
}

func TestAnOrganisationThatMustNotBeInjectedIsNotStored(t *testing.T) {
	rec := authtest.NewRecord(testNow)
	rec.Keys[1].OrgID = "a\r\nb"
	if _, err := newCodec(t, "").encode("k", &rec); !errors.Is(err, auth.ErrOrgID) {
		t.Errorf("error %v", err)
	}
}

func TestASealIsGoodForOneKeyOneRecordAndTheSecretsInForce(t *testing.T) {
	c := newCodec(t, testSecret)
	value := encode(t, c, "k", authtest.NewRecord(testNow))
	check := func(name string, c codec, key, value string, want auth.State) {
		t.Helper()
		if got, _, _ := c.decode(key, value, testNow); got != want {
			t.Errorf("%s: state %d, want %d", name, got, want)
		}
	}
	check("as written", c, "k", value, auth.Held)
	check("under another key", c, "l", value, auth.Forged)
	check("by a proxy without a secret", newCodec(t, ""), "k", value, auth.Held)
	check("by a proxy with another secret", newCodec(t, otherSecret), "k", value, auth.Forged)
	check("while secrets are exchanged", newCodec(t, otherSecret+","+testSecret), "k", value, auth.Held)
	check("unsealed", c, "k", encode(t, newCodec(t, ""), "k", authtest.NewRecord(testNow)), auth.Forged)

	var members map[string]any
	if err := json.Unmarshal([]byte(value), &members); err != nil {
		t.Fatal(err)
	}
	for name := range members {
		if name == "v" {
			continue
		}
		changed := alter(t, value, name)
		check(name+" altered", c, "k", changed, auth.Forged)
	}
	for _, change := range [][2]string{
		{`"enabled":false`, `"enabled":true`}, {"Org.2", "Org.3"}, {`"hash":"01`, `"hash":"00`},
		{`"expires_at":0`, `"expires_at":1`},
		{`,"expires_at":0`, ``}, {"hmac-sha256", "sha256"},
	} {
		altered := strings.Replace(value, change[0], change[1], 1)
		if altered == value {
			t.Fatalf("nothing to alter: %s", change[0])
		}
		check(change[1], c, "k", altered, auth.Forged)
	}
}

// alter gives the member called name another plausible value.
func alter(t *testing.T, value, name string) string {
	t.Helper()
	var w wire
	if err := json.Unmarshal([]byte(value), &w); err != nil {
		t.Fatal(err)
	}
	switch name {
	case "fill":
		w.Fill += "x"
	case "filled_at":
		w.FilledAt++
	case "read_at":
		w.ReadAt++
	case "fresh_until":
		w.FreshUntil++
	case "keys":
		w.Keys = w.Keys[:1]
	case "mac":
		w.Mac = hex.EncodeToString(make([]byte, 32))
	default:
		t.Fatalf("member %s is not covered", name)
	}
	changed, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	return string(changed)
}

func TestValuesAreOursForgedOrForeign(t *testing.T) {
	c := newCodec(t, "")
	good := encode(t, c, "k", authtest.NewRecord(testNow))
	with := func(old, new string) string {
		t.Helper()
		if !strings.Contains(good, old) {
			t.Fatalf("%s is not in %s", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	for _, row := range []struct {
		value string
		want  auth.State
	}{
		{good, auth.Held},
		{with(`{`, `{"added_later":true,`), auth.Held},
		{`{"v":1,"lease":"x"}`, auth.Leased},
		{with(`"fill":"`, `"lease":"`), auth.Leased}, // it ends, and nobody believes anything of it

		{`{"id": "0198c0de", "hash": "ab"}`, auth.Foreign}, // what the service before us caches
		{``, auth.Foreign},
		{`org`, auth.Foreign},
		{`1`, auth.Foreign},
		{`null`, auth.Foreign},
		{`[1]`, auth.Foreign},
		{`{}`, auth.Foreign},
		{`{"v":2,"fill":"x"}`, auth.Foreign},
		{`{"v":"1"}`, auth.Foreign},
		{good + "x", auth.Foreign},
		{good[:len(good)-1], auth.Foreign},

		{`{"v":1}`, auth.Forged},
		{`{"v":1,"lease":1}`, auth.Forged},
		{`{"v":1,"lease":""}`, auth.Forged},
		{with(`{`, `{"lease":"x",`), auth.Forged},
		{with(`"filled_at":1`, `"filled_at":-1`), auth.Forged},
		{with(`"filled_at":1`, `"filled_at":9`), auth.Forged},
		{with(`"read_at":1`, `"read_at":-1`), auth.Forged},
		{with(`"read_at":1`, `"read_at":"1`), auth.Foreign},
		{with(`"read_at":`, `"read_at":true,"x":`), auth.Forged},
		{with(`"keys":[`, `"keys":[],"x":[`), auth.Forged},
		{with(`"org_id":"3"`, `"org_id":""`), auth.Forged},
		{with(`"org_id":"3"`, `"org_id":"a b"`), auth.Forged},
		{with(`"org_id":"3"`, `"org_id":"a\r\nX-Admin: 1"`), auth.Forged},
		{with(`"org_id":"3"`, `"org_id":3`), auth.Forged},
		{with(`hmac-sha256`, `bcrypt`), auth.Forged},
		{with(`"hash":"01`, `"hash":"0`), auth.Forged},
		{with(`"hash":"01`, `"hash":"zz`), auth.Forged},
		{with(`"hash":"01`, `"hash":"0001`), auth.Forged},
	} {
		state, rec, err := c.decode("k", row.value, testNow)
		if state != row.want {
			t.Errorf("%s: state %d, want %d (%v)", row.value, state, row.want, err)
		}
		if state != auth.Held && !reflect.DeepEqual(rec, auth.Record{}) {
			t.Errorf("%s: shown though not held", row.value)
		}
	}
}

func TestARecordIsBelievedFreshNoLongerThanOurOwnTTL(t *testing.T) {
	rec := authtest.NewRecord(testNow)
	rec.FreshUntil = rec.ReadAt + time.Hour.Milliseconds()
	c := newCodec(t, testSecret)
	_, got, err := c.decode("k", encode(t, c, "k", rec), testNow)
	if want := rec.ReadAt + (5 * time.Minute).Milliseconds(); err != nil || got.FreshUntil != want {
		t.Errorf("fresh until %d, want %d (%v)", got.FreshUntil, want, err)
	}
}

func TestARecordMayBeALittleAheadOfTheClock(t *testing.T) {
	c := newCodec(t, "")
	value := encode(t, c, "k", authtest.NewRecord(testNow))
	for ahead, want := range map[time.Duration]auth.State{
		0: auth.Held, clockSlack: auth.Held, clockSlack + time.Millisecond: auth.Forged,
	} {
		if got, _, _ := c.decode("k", value, testNow-ahead.Milliseconds()); got != want {
			t.Errorf("%v ahead: state %d, want %d", ahead, got, want)
		}
	}
}

// A value is hostile: nothing makes decode panic, and what it takes for a record survives another round.
func FuzzDecode(f *testing.F) {
	plain := newCodec(f, "")
	rec := authtest.NewRecord(testNow)
	good, err := plain.encode("k", &rec)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(good))
	for _, seed := range []string{`{"v":1,"lease":"x"}`, `{"id":"a","hash":"b"}`, `{"v":1,"keys":[{}]}`, ``} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		state, rec, _ := plain.decode("k", value, testNow)
		if state != auth.Held {
			return
		}
		again, err := plain.encode("k", &rec)
		if err != nil {
			t.Fatalf("%s: held, but cannot be stored: %v", value, err)
		}
		if state, got, _ := plain.decode("k", string(again), testNow); state != auth.Held || !reflect.DeepEqual(got, rec) {
			t.Fatalf("%s: state %d, %+v, was %+v", value, state, got, rec)
		}
	})
}
