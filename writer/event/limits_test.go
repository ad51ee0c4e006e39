package event_test

import (
	"fmt"
	"strings"
	"testing"

	"keygate/writer/event"
)

func TestDecodeAcceptsValuesUpToTheLimits(t *testing.T) {
	f := func(value string) {
		t.Helper()
		if _, err := event.Decode([]byte(withPayload(value)), testID, "org"); err != nil {
			t.Errorf("%.60q: %v", value, err)
		}
	}
	f(strings.Repeat("[", 63) + strings.Repeat("]", 63))
	f(strings.Repeat(`{"a":`, 63) + "1" + strings.Repeat("}", 63))
	for _, number := range []string{"0", "-0", "0.0", "-1.5e+10", "1E-7", "0e0", "0e99999", "1e0000000000001"} {
		f(number)
	}
	f(strings.Repeat("9", 1000))
	f("-" + strings.Repeat("9", 1000))
	f("-0." + strings.Repeat("9", 999))
	f(strings.Repeat("9", 500) + "." + strings.Repeat("9", 500))
	f("1e999")
	f("-9.99e999")
	f("1e-999")
	f("0.001e1002") // 1 and 999 zeros
	f("0." + strings.Repeat("0", 2000) + "1e2001")
	f(`"` + strings.Repeat("x", 1<<20) + `"`)
	f(`{"":{"":{"":1}}}`)
}

func TestDecodeRefusesAMemberSentTwice(t *testing.T) {
	f := func(body, pointer string) {
		t.Helper()
		r := rejectionOf(t, body)
		if r.Kind != event.Invalid || r.Pointer != pointer || !strings.Contains(r.Detail, "twice") {
			t.Errorf("%.80q: got %d, %q, %q; want pointer %q", body, r.Kind, r.Pointer, r.Detail, pointer)
		}
	}
	f(`{"type":"t","type":"t","payload":{}}`, "/type")
	f(`{"type":"t","payload":{},"payload":{}}`, "/payload")
	f(`{"type":"t","payload":{},"x":1,"x":1}`, "/x")
	f(`{"type":"t","payload":{},"\u0074ype":"t"}`, "/type")
	f(withPayload(`{"a":1,"b":2,"a":1}`), "/payload/v/a")
	f(withPayload(`{"":1,"":2}`), "/payload/v/")
	f(withPayload(`[0,{"b":[1,[{"a":{},"c":1,"a":1}]]}]`), "/payload/v/1/b/1/0/a")
	f(withPayload(`{"a":1,"\u0061":2}`), "/payload/v/a")
	f(withPayload(`{"\u00e9":1,"é":2}`), "/payload/v/é")
	f(withPayload(`{"\ud83d\ude00":1,"😀":2}`), "/payload/v/😀")
	f(withPayload(`{"a/b~c~1":{"d":1},"a\/b~c~1":2}`), "/payload/v/a~1b~0c~01")
	f(withPayload(`{"x":{"a":1,"b":2},"y":{"b":1},"x":0}`), "/payload/v/x")

	// Objects of any size, the repetition being of the first, a middle and the last name.
	for _, size := range []int{2, 31, 32, 33, 34, 100, 10_000} {
		var members strings.Builder
		for i := range size {
			fmt.Fprintf(&members, `"m%d":{"a":0},`, i)
		}
		for _, again := range []int{0, size / 2, size - 1} {
			f(withPayload(fmt.Sprintf(`{%s"m%d":1}`, &members, again)), fmt.Sprintf("/payload/v/m%d", again))
		}
		if _, err := event.Decode([]byte(withPayload(fmt.Sprintf(`{%s"n":1}`, &members))), testID, "org"); err != nil {
			t.Errorf("%d distinct members: %v", size, err)
		}
	}
}

func TestDecodeRefusesWhatPostgresCannotStore(t *testing.T) {
	f := func(body, pointer, reason string) {
		t.Helper()
		r := rejectionOf(t, body)
		if r.Kind != event.Invalid || r.Pointer != pointer || !strings.Contains(r.Detail, reason) {
			t.Errorf("%.80q: got kind %d, pointer %q, detail %q; want %q, %q",
				body, r.Kind, r.Pointer, r.Detail, pointer, reason)
		}
	}
	const nul, half, digits, deep = `\u0000 cannot be stored`, "surrogate", "more than 1000 digits", "at most 64 levels"
	f(withPayload(`"a\u0000b"`), "/payload/v", nul)
	f(withPayload(`["\\\u0000"]`), "/payload/v/0", nul)
	f(`{"type":"\u0000","payload":{}}`, "/type", nul)
	f(`{"type":"t","dedup_id":"\u0000","payload":{}}`, "/dedup_id", nul)
	f(`{"type":"t","payload":{},"x":["\u0000"]}`, "/x/0", nul)
	f(withPayload(`{"a":1,"b\u0000":2}`), "/payload/v", "a member name: "+nul)
	f(`{"\u0000":1,"type":"t","payload":{}}`, "", "a member name: "+nul)

	for _, text := range []string{`\ud83d`, `\ude00`, `\ud83dx`, `\ud83d\n`, `\ud83dA`, `\ud83d\ud83d\ude00`,
		`\ude00\ud83d`, `\ud83d\u0041`, `\uDBFF`, `\uDC00`, `\ud800\u0000`} {
		f(withPayload(`[1,"`+text+`"]`), "/payload/v/1", half)
		f(`{"type":"`+text+`","payload":{}}`, "/type", half)
	}
	f(withPayload(`{"\ud83d":1,"\ud83d":1}`), "/payload/v", "a member name: half")

	for _, number := range []string{"1e1000", "1e1001", "1e-1000", "1e-1001", "-9.9e1000", "1E+4000", "0e-1000",
		"1e131072", "1e99999999999999999999", "1e-99999999999999999999", "0e100001", "0e99999999999999999999", "12e999",
		strings.Repeat("9", 1001), "0." + strings.Repeat("0", 1000), "-0.5e-999",
		strings.Repeat("1", 501) + "." + strings.Repeat("1", 500)} {
		f(withPayload(number), "/payload/v", digits)
		f(withPayload(`[[],{"n":`+number+`}]`), "/payload/v/1/n", digits)
	}

	f(withPayload(strings.Repeat("[", 64)+strings.Repeat("]", 64)), "/payload/v"+strings.Repeat("/0", 63), deep)
	f(withPayload(strings.Repeat(`{"a":`, 64)+"1"+strings.Repeat("}", 64)), "/payload/v"+strings.Repeat("/a", 63), deep)
	f(withPayload(strings.Repeat(`[{"a":`, 200_000)+"1"+strings.Repeat("}]", 200_000)),
		"/payload/v"+strings.Repeat("/0/a", 31)+"/0", deep)
	f(`{"type":"t","payload":{},"x":`+strings.Repeat("[", 65)+strings.Repeat("]", 65)+`}`,
		"/x"+strings.Repeat("/0", 64), deep)
	f(strings.Repeat("[", 1_000_000)+strings.Repeat("]", 1_000_000), "", "an event must be an object")
}

func TestDecodeBoundsWhatExponentsAddToAPayload(t *testing.T) {
	numbers := func(count int) string { return `[0` + strings.Repeat(",1e999", count) + `]` }
	if _, err := event.Decode([]byte(withPayload(numbers(60))), testID, "org"); err != nil {
		t.Errorf("60 numbers: %v", err)
	}
	r := rejectionOf(t, withPayload(numbers(100)))
	if r.Kind != event.Invalid || r.Pointer != "/payload" || !strings.Contains(r.Detail, "in all") {
		t.Errorf("100 numbers: got %+v", r)
	}
	if _, err := event.Decode([]byte(withPayload(`[0`+strings.Repeat(",6.62607015e-34", 100_000)+`]`)), testID, "org"); err != nil {
		t.Errorf("100,000 measurements: %v", err)
	}
}

func TestAPointerIsShortenedToAnAncestor(t *testing.T) {
	name := strings.Repeat("n", 500)
	nested := func(inner string) string { return withPayload(`{"` + name + `":{"` + name + `":` + inner + `}}`) }
	if r := rejectionOf(t, nested(`{"a":1e1001}`)); r.Pointer != "/payload/v/"+name+"/"+name+"/a" {
		t.Errorf("got %q", r.Pointer)
	}
	if r := rejectionOf(t, nested(`{"`+name+`":[1e1001]}`)); r.Pointer != "/payload/v/"+name+"/"+name {
		t.Errorf("got %q", r.Pointer)
	}
	if r := rejectionOf(t, withPayload(`{"`+strings.Repeat("~", 5<<20)+`":1e1001}`)); r.Pointer != "/payload/v" {
		t.Errorf("got %.100q", r.Pointer)
	}
}
