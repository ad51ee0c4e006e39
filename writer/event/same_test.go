package event_test

import (
	"fmt"
	"strings"
	"testing"

	"keygate/writer/event"
)

func TestSameComparesPayloadsAsJSONValues(t *testing.T) {
	f := func(a, b string, want bool) {
		t.Helper()
		for _, wrap := range []string{"%s", `{"v":%s}`, `{"v":[0,{"w":%s}]}`} {
			x, y := []byte(fmt.Sprintf(wrap, a)), []byte(fmt.Sprintf(wrap, b))
			if got := event.Same("t", x, "t", y); got != want {
				t.Errorf("%.60q, %.60q: got %v", x, y, got)
			}
			if got := event.Same("t", y, "t", x); got != want {
				t.Errorf("%.60q, %.60q: got %v", y, x, got)
			}
		}
	}
	same := func(values ...string) {
		t.Helper()
		for _, a := range values {
			f(a, values[0], true)
		}
	}
	same(`{"a":1,"b":[true,false,null]}`, `{"b":[true,false,null],"a":1}`, " {\n\"a\" : 1.0 ,\t\"b\":[ true,false , null]}\r\n")
	same(`{"a":{"x":1,"y":2},"b":{}}`, `{"b":{},"a":{"y":2,"x":1}}`)
	same(`{"":1,"}":{},"a":2}`, `{"a":2,"}":{},"":1}`)
	same(`1`, `1.0`, `1.000`, `10e-1`, `1E0`, `1e+0`, `0.1e1`, `0.001E3`, `100e-2`, `1e00`)
	same(`0`, `-0`, `0.0`, `-0.00`, `0e5`, `-0E-5`, `0e999`)
	same(`100`, `1e2`, `1E+2`, `100.00`, `0.1e3`)
	same(`-12.5`, `-125e-1`, `-0.125e2`, `-12.500`)
	same(`1e999`, `1`+strings.Repeat("0", 999), `0.`+strings.Repeat("0", 500)+`1e1500`)
	same(`1e-999`, `0.`+strings.Repeat("0", 998)+`1`)
	same(strings.Repeat("9", 1000), strings.Repeat("9", 500)+"."+strings.Repeat("9", 500)+"e500")
	same(`"é😀/"`, `"\u00e9\ud83d\ude00\/"`, `"\u00E9\uD83D\uDE00/"`)
	same(`"\n\t\"\\\u0001"`, `"\u000a\u0009\u0022\u005c\u0001"`)
	same(`{"\u0061":1,"b":2}`, `{"b":2,"a":1}`)
	same(`""`, `""`)

	f(`1`, `2`, false)
	f(`1`, `-1`, false)
	f(`1`, `10`, false)
	f(`1`, `0.1`, false)
	f(`0`, `1e-999`, false)
	f(`1e999`, `1e998`, false)
	f(`9007199254740993`, `9007199254740992`, false) // equal as float64
	f(`0.1`, `0.1000000000000000000001`, false)
	f(strings.Repeat("9", 1000), strings.Repeat("9", 999)+"8", false)
	f(`1`, `"1"`, false)
	f(`true`, `"true"`, false)
	f(`true`, `false`, false)
	f(`null`, `false`, false)
	f(`null`, `{}`, false)
	f(`[]`, `{}`, false)
	f(`[]`, `[[]]`, false)
	f(`[[],[]]`, `[[[]]]`, false)
	f(`[1,2]`, `[2,1]`, false)
	f(`[1,2]`, `[1]`, false)
	f(`[1,23]`, `[12,3]`, false)
	f(`[1,0]`, `[1e9]`, false)
	f(`[1e1,23]`, `[1e12,3]`, false)
	f(`["a","b"]`, `["ab"]`, false)
	f(`["a,b"]`, `["a","b"]`, false)
	f(`"a"`, `"A"`, false)
	f(`"é"`, `"e\u0301"`, false)
	f(`"\\n"`, `"\n"`, false)
	f(`{"a":1}`, `{"a":2}`, false)
	f(`{"a":1}`, `{"b":1}`, false)
	f(`{"a":null}`, `{}`, false)
	f(`{"a":1}`, `{"a":1,"b":1}`, false)
	f(`{"a":1,"b":2}`, `{"a":2,"b":1}`, false)
	f(`{"a":{"b":1},"c":2}`, `{"a":{"b":1,"c":2}}`, false)
	f(`{"ab":"c"}`, `{"a":"bc"}`, false)
	f(`["a","b"]`, `["a\"b"]`, false)
	f(`{"a":{},"":{"}":1}}`, `{"a":{"}":{},"":1}}`, false)
}

func TestSameComparesTypes(t *testing.T) {
	if event.Same("a", []byte(`{}`), "b", []byte(`{}`)) || event.Same("a", []byte(`{}`), "A", []byte(`{ }`)) {
		t.Error("events of different types are the same")
	}
	if !event.Same("a", []byte(`{}`), "a", []byte(` { } `)) {
		t.Error("events of one type and payload differ")
	}
}

func TestSameTakesNoPayloadThatIsNoneForEqualToAnother(t *testing.T) {
	for _, bad := range []string{``, ` `, `{`, `{"a":1}}`, `{"a":"\u0000"}`, `{"a":1e1001}`, `{"a":01}`, `{"a"`,
		`"\ud800"`, strings.Repeat("[", 100) + strings.Repeat("]", 100), strings.Repeat("[", 1_000_000), "{\"a\":\"\xff\"}"} {
		if !event.Same("t", []byte(bad), "t", []byte(bad)) {
			t.Errorf("%.40q is not the same as its own bytes", bad)
		}
		if event.Same("t", []byte(bad), "t", []byte(bad+" ")) || event.Same("t", []byte(" "+bad), "t", []byte(`{"a":1}`)) {
			t.Errorf("%.40q is the same as another", bad)
		}
	}
}

func TestSameHoldsForEverySpellingAndNoOtherContent(t *testing.T) {
	previous := []byte(`{}`)
	for i := range uint64(1000) {
		a, b := []byte(newRandomJSON(i, 1).object(4)), []byte(newRandomJSON(i, 2).object(4))
		if !event.Same("t", a, "t", b) || !equal(tree(a), tree(b)) {
			t.Fatalf("not the same:\n%s\n%s", a, b)
		}
		if got, want := event.Same("t", a, "t", previous), equal(tree(a), tree(previous)); got != want {
			t.Fatalf("got %v, want %v:\n%s\n%s", got, want, a, previous)
		}
		previous = b
	}
}
