package event_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keygate/shared/uuid7"
	"keygate/writer/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testID = uuid7.Mint(time.UnixMilli(1_700_000_000_123))

// withPayload returns an event whose payload has the one member "v".
func withPayload(value string) string { return `{"type":"t","payload":{"v":` + value + `}}` }

// rejectionOf decodes a body that must be refused.
func rejectionOf(tb testing.TB, body string) *event.Rejection {
	tb.Helper()
	e, err := event.Decode([]byte(body), testID, "org")
	var rejection *event.Rejection
	if !errors.As(err, &rejection) || e != nil {
		tb.Fatalf("%.80q: got %v, %v; want a rejection", body, e, err)
	}
	if len(rejection.Detail) == 0 || len(rejection.Detail) > 150 {
		tb.Errorf("%.80q: detail %q", body, rejection.Detail)
	}
	return rejection
}

func TestDecodeAcceptsEvents(t *testing.T) {
	f := func(body, wantType, wantDedupID, wantPayload string) {
		t.Helper()
		e, err := event.Decode([]byte(body), testID, "org_1")
		if err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		if e.Type != wantType || e.DedupID != wantDedupID || string(e.Payload) != wantPayload {
			t.Errorf("%q: got type %q, dedup id %q, payload %q", body, e.Type, e.DedupID, e.Payload)
		}
		if e.ID != testID || e.OrgID != "org_1" || !e.CreatedAt().Equal(testID.Time()) {
			t.Errorf("%q: got id %s, organisation %q", body, e.ID, e.OrgID)
		}
	}
	f(`{"type":"t","payload":{}}`, "t", "", `{}`)
	f(`{"type":"t","dedup_id":"d","payload":{"a":1}}`, "t", "d", `{"a":1}`)
	f(`{"payload":{"a":[]},"dedup_id":"d","type":"t"}`, "t", "d", `{"a":[]}`)
	f(`{"type":"t","dedup_id":null,"payload":{}}`, "t", "", `{}`)
	f(" \t\r\n{ \"type\" : \"t\" , \"payload\" : { \"a\" : 1 } }\r\n ", "t", "", `{ "a" : 1 }`)

	// Members of other names are ignored, near misses too.
	f(`{"Type":1,"x":[{"type":2}],"type":"t","payload":{},"PAYLOAD":null,"dedup_id ":[]}`, "t", "", `{}`)

	// Names and labels count as they read without escapes; the payload stays as it was written.
	f(`{"\u0074ype":"a\u00e9\n\/\"\\\b\f\r\t","payload":{"\u0061":"\ud83d\ude00"}}`,
		"aé\n/\"\\\b\f\r\t", "", `{"\u0061":"\ud83d\ude00"}`)
	f(`{"type":"\uD83D\uDe00","dedup_id":"\\u0000","payload":{}}`, "😀", `\u0000`, `{}`)
	f("{\"type\":\"\u00e9\u4e2d\U0001f600\u007f\ufffe\ufffd\",\"payload\":{}}", "é中😀\u007f\ufffe\ufffd", "", `{}`)

	// The same name in different objects is no repetition, nor are names that differ in case or form.
	f(`{"type":"t","payload":{"a":{"a":{"a":1}},"A":[{"a":1},{"a":1}]}}`, "t", "",
		`{"a":{"a":{"a":1}},"A":[{"a":1},{"a":1}]}`)
	f("{\"type\":\"t\",\"payload\":{\"\u00e9\":1,\"e\u0301\":2}}", "t", "", "{\"\u00e9\":1,\"e\u0301\":2}")

	for _, limit := range []int{1, 255} {
		label := strings.Repeat("x", limit)
		f(`{"type":"`+label+`","dedup_id":"`+label+`","payload":{}}`, label, label, `{}`)
	}
	escaped := strings.Repeat(`\u0061`, 255)
	f(`{"type":"`+escaped+`","payload":{}}`, strings.Repeat("a", 255), "", `{}`)
}

func TestDecodeRefusesWhatIsNotJSONAndSaysWhere(t *testing.T) {
	f := func(body string, offset int, reason string) {
		t.Helper()
		r := rejectionOf(t, body)
		want := fmt.Sprintf("not valid JSON at byte offset %d: %s", offset, reason)
		if r.Kind != event.Malformed || r.Pointer != "" || !strings.HasPrefix(r.Detail, want) {
			t.Errorf("%.80q: got kind %d, pointer %q, detail %q; want %q", body, r.Kind, r.Pointer, r.Detail, want)
		}
	}
	const early = "it ends too early"
	f("", 0, early)
	f(" \n", 2, early)
	f("{", 1, early)
	f(`{"type"`, 7, early)
	f(`{"type":`, 8, early)
	f(`{"type":"t`, 10, early)
	f(`{"type":"t\`, 11, early)
	f(`{"type":"t","payload":{}`, 24, early)
	f(`nul`, 0, "expected a value")
	f(`{"type":"t","payload":{}} x`, 26, "expected nothing after the value")
	f(`{"type":"t","payload":{}}{}`, 25, "expected nothing after the value")
	f("{\"type\":\"t\",\"payload\":{}}\x00", 25, "expected nothing after the value")
	f("\ufeff{\"type\":\"t\",\"payload\":{}}", 0, "send it without a byte order mark")
	f("{\ufeff}", 1, "expected a member name")
	f("\x00", 0, "expected a value")
	f(`{type:"t"}`, 1, "expected a member name in double quotes")
	f(`{'type':"t"}`, 1, "expected a member name in double quotes")
	f(`{"type":"t",}`, 12, "expected a member name in double quotes")
	f(`{"type" "t"}`, 8, "expected a colon")
	f(`{"type":"t" "payload":{}}`, 12, "expected a comma or a closing brace")
	f(`{"a":[1,]}`, 8, "expected a value")
	f(`{"a":[1 2]}`, 8, "expected a comma or a closing bracket")
	f(`{"a":[1}}`, 7, "expected a comma or a closing bracket")
	f(`{"a":{]}`, 6, "expected a member name")
	f(`{"a":NaN}`, 5, "expected a value")
	f(`{"a":True}`, 5, "expected a value")
	f(`{"a":truth}`, 5, "expected a value")
	f(`{"a":nulll}`, 9, "expected a comma")
	f(`{"a":01}`, 6, "a number has no leading zero")
	f(`{"a":-01}`, 7, "a number has no leading zero")
	f(`{"a":-}`, 6, "expected a digit")
	f(`{"a":+1}`, 5, "expected a value")
	f(`{"a":.5}`, 5, "expected a value")
	f(`{"a":1.}`, 7, "expected a digit after the point")
	f(`{"a":1e}`, 7, "expected a digit in the exponent")
	f(`{"a":1e+}`, 8, "expected a digit in the exponent")
	f(`{"a":1`, 6, early)
	f(`{"a":-`, 6, early)
	f(`{"a":1.`, 7, early)
	f(`{"a":1E-`, 8, early)
	f(`{"a":0x10}`, 6, "expected a comma")
	f(`{"a":1_0}`, 6, "expected a comma")
	f(`{"a":"\x"}`, 6, "no such escape")
	f(`{"a":"\U0041"}`, 6, "no such escape")
	f(`{"a":"\u12g4"}`, 6, "expected four hexadecimal digits")
	f(`{"a":"\u12"}`, 6, "expected four hexadecimal digits")
	f(`{"a":"\ud83d\u12"}`, 12, "expected four hexadecimal digits")
	f("{\"a\":\"\n\"}", 6, "control characters in a string must be escaped")
	f("{\"a\":\"x\x1f\"}", 7, "control characters in a string must be escaped")
	f("{\"a\x00\":1}", 3, "control characters in a string must be escaped")
	f("{\"a\":1,\v\"b\":2}", 7, "expected a member name")
	f("{\"a\":\u00a01}", 5, "expected a value")
	f("// note\n{}", 0, "expected a value")
	f(strings.Repeat("[", 1_000_000), 1_000_000, early)

	const utf8 = "the string is not valid UTF-8"
	f("{\"a\":\"\xff\"}", 6, utf8)
	f("{\"a\":\"\u4e2d\x80\"}", 9, utf8)
	f("{\"a\":\"\xc0\x80\"}", 6, utf8)         // overlong
	f("{\"a\":\"\xed\xa0\x80\"}", 6, utf8)     // half a surrogate pair
	f("{\"a\":\"\xf4\x90\x80\x80\"}", 6, utf8) // beyond U+10FFFF
	f("{\"a\":\"\xe4\xb8\"}", 6, utf8)         // cut off
	f("{\"\xe4\":1}", 2, utf8)
	f("\xff", 0, "expected a value")

	// No JSON is called that, whatever rule it breaks besides and wherever.
	f(`{"type":"","payload":{"a":1,"a":2}`, 34, early)
	f(`[1,2`, 4, early)
	f(withPayload(strings.Repeat("[", 70)+strings.Repeat("]", 69)), 166, "expected a comma or a closing bracket")
}

// Strings are read eight bytes at a time, so a byte must count wherever it stands.
func TestEveryByteOfAStringCounts(t *testing.T) {
	for at := range 20 {
		for c := range 256 {
			text := []byte(strings.Repeat("x", 20))
			text[at] = byte(c)
			body := []byte(withPayload(`"` + string(text) + `"`))
			_, err := event.Decode(body, testID, "org")
			if want := c >= ' ' && c < 0x80 && c != '"' && c != '\\'; (err == nil) != want {
				t.Errorf("byte %#02x at %d: %v", c, at, err)
			}
		}
	}
}

func TestDecodeRefusesWhatIsNoEventWithAPointer(t *testing.T) {
	f := func(body, pointer, reason string) {
		t.Helper()
		r := rejectionOf(t, body)
		if r.Kind != event.Invalid || r.Pointer != pointer || !strings.Contains(r.Detail, reason) {
			t.Errorf("%.80q: got kind %d, pointer %q, detail %q; want %q, %q",
				body, r.Kind, r.Pointer, r.Detail, pointer, reason)
		}
	}
	for _, body := range []string{`null`, `true`, `false`, `5`, `-1e3`, `"type"`, `[]`, `[{"type":"t","payload":{}}]`} {
		f(body, "", "an event must be an object")
	}
	f(`{}`, "/type", "must have a type")
	f(`{"payload":{}}`, "/type", "must have a type")
	f(`{"payload":{},"x":{"type":"t"}}`, "/type", "must have a type")
	f(`{"type":"t"}`, "/payload", "must have a payload")
	f(`{"type":"t","dedup_id":"d"}`, "/payload", "must have a payload")
	for _, value := range []string{`null`, `1`, `true`, `[]`, `{"a":1}`, `["t"]`} {
		f(`{"type":`+value+`,"payload":{}}`, "/type", "must be a string")
		if value != `null` {
			f(`{"dedup_id":`+value+`,"type":"t","payload":{}}`, "/dedup_id", "must be a string")
		}
	}
	for _, value := range []string{`null`, `1`, `true`, `[]`, `"{}"`, `[{}]`} {
		f(`{"type":"t","payload":`+value+`}`, "/payload", "must be an object")
	}

	long := strings.Repeat("x", 256)
	f(`{"type":"","payload":{}}`, "/type", "must be 1 to 255 bytes long, and is 0")
	f(`{"type":"t","dedup_id":"","payload":{}}`, "/dedup_id", "must be 1 to 255 bytes long, and is 0")
	f(`{"type":"`+long+`","payload":{}}`, "/type", "must be 1 to 255 bytes long, and is 256")
	f(`{"type":"t","dedup_id":"`+long+`","payload":{}}`, "/dedup_id", "and is 256")
	f(`{"type":"`+strings.Repeat("é", 128)+`","payload":{}}`, "/type", "and is 256")
	f(`{"type":"`+strings.Repeat(`\u00e9`, 128)+`","payload":{}}`, "/type", "and is 256")

	// The first broken rule in the text is reported, a missing member last.
	f(`{"dedup_id":"","type":""}`, "/dedup_id", "bytes long")
	f(`{"x":1e1001,"dedup_id":""}`, "/x", "digits")
}

func TestAnEventAliasesNothingOfTheBody(t *testing.T) {
	const text = `{"type":"or\u0064er.created","dedup_id":"ord_1","payload":{"a":[1,"two",{"\u0062":null}]}}`
	body := []byte(text)
	e, err := event.Decode(body, testID, "org")
	if err != nil {
		t.Fatal(err)
	}
	for i := range body {
		body[i] = '#'
	}
	for range 10 { // whatever is pooled is used again
		if _, err := event.Decode([]byte(strings.ReplaceAll(text, "e", "f")), testID, "org"); err == nil {
			t.Fatal("accepted")
		}
	}
	const want = `{"a":[1,"two",{"\u0062":null}]}`
	if e.Type != "order.created" || e.DedupID != "ord_1" || string(e.Payload) != want {
		t.Errorf("got %q, %q, %q", e.Type, e.DedupID, e.Payload)
	}
}

func TestARefusedBodyLeavesNothingBehindForTheNext(t *testing.T) {
	for _, bad := range []string{`{"type":"t","payload":{"a":[{"b":1,"b`, withPayload(`{"a":1,"a":1}`), `{"type":""}`,
		withPayload(strings.Repeat("[", 100)), withPayload(`[` + strings.Repeat("1e999,", 100) + `1]`)} {
		rejectionOf(t, bad)
		for _, good := range []string{withPayload(`{"a":1,"b":[1,2]}`), withPayload(`[1e999]`)} {
			if _, err := event.Decode([]byte(good), testID, "org"); err != nil {
				t.Errorf("after %.60q: %v", bad, err)
			}
		}
		if r := rejectionOf(t, withPayload(`[1,{"a":1e1001}]`)); r.Pointer != "/payload/v/1/a" {
			t.Errorf("after %.60q: pointer %q", bad, r.Pointer)
		}
	}
}

func TestUseKey(t *testing.T) {
	f := func(dedupID, key, want, reason string) {
		t.Helper()
		e := &event.Event{DedupID: dedupID}
		err := e.UseKey(key)
		if reason == "" {
			if err != nil || e.DedupID != want {
				t.Errorf("%q, %q: got %q, %v", dedupID, key, e.DedupID, err)
			}
			return
		}
		var r *event.Rejection
		if !errors.As(err, &r) || r.Kind != event.Invalid || r.Pointer != "/dedup_id" || !strings.Contains(r.Detail, reason) {
			t.Errorf("%q, %.20q: got %v", dedupID, key, err)
		}
		if e.DedupID != dedupID {
			t.Errorf("%q, %.20q: the dedup id is now %q", dedupID, key, e.DedupID)
		}
	}
	f("", "k", "k", "")
	f("k", "k", "k", "")
	f("", strings.Repeat("k", 255), strings.Repeat("k", 255), "")
	f("d", "k", "", "differ")
	f("", "", "", "1 to 255 bytes")
	f("d", "", "", "1 to 255 bytes")
	f("", strings.Repeat("k", 256), "", "1 to 255 bytes")
	f("", "a\x00", "", "without NUL")
	f("", "\xff", "", "UTF-8")
}
