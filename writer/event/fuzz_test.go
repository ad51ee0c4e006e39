package event_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"keygate/writer/event"
)

// FuzzDecode compares with encoding/json and the slow reading of the rules in judge.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{good, withPayload(`[1,{"a":"\ud83d\ude00\u0000"},-1.5e-7]`), `{"type":"\u0074","dedup_id":null,` +
		`"payload":{"a":{"b":[true,false,null]},"c":"é"}}`, withPayload("1e1001"), `[1]`, "{\"a\":\"\xff\"}",
		withPayload(strings.Repeat("[", 70) + strings.Repeat("]", 70))} {
		f.Add([]byte(seed))
	}
	for i := range uint64(10) {
		f.Add([]byte(withPayload(newRandomJSON(i, i).object(3))))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		v := judge(body, event.MaxDepth+1)
		e, err := event.Decode(body, testID, "org")
		if err == nil {
			checkAccepted(t, e, body, v)
			return
		}
		var r *event.Rejection
		if !errors.As(err, &r) || e != nil || r.Detail == "" {
			t.Fatalf("got %v, %#v", e, err)
		}
		if r.Kind == event.Malformed == v.json {
			t.Fatalf("encoding/json: %v; got %+v", v.json, r)
		}
		if r.Kind == event.Invalid {
			checkPointer(t, body, r)
		}
	})
}

func checkAccepted(t *testing.T, e *event.Event, body []byte, v verdict) {
	t.Helper()
	if !v.json || !v.storable && !v.halves {
		t.Fatalf("accepted, against %+v", v)
	}
	var members map[string]json.RawMessage
	var kind string
	var dedupID *string
	if err := errors.Join(json.Unmarshal(body, &members), json.Unmarshal(members["type"], &kind)); err != nil {
		t.Fatal(err)
	}
	if text, ok := members["dedup_id"]; ok {
		if err := json.Unmarshal(text, &dedupID); err != nil {
			t.Fatal(err)
		}
	}
	if e.Type != kind || (dedupID == nil) != (e.DedupID == "") || dedupID != nil && *dedupID != e.DedupID {
		t.Fatalf("got %q, %q", e.Type, e.DedupID)
	}
	if len(e.Type) > event.MaxName || len(e.DedupID) > event.MaxName || !utf8.ValidString(e.Type+e.DedupID) {
		t.Fatalf("got %q, %q", e.Type, e.DedupID)
	}
	if !bytes.Equal(e.Payload, members["payload"]) || e.Payload[0] != '{' {
		t.Fatalf("got payload %q", e.Payload)
	}
}

// checkPointer follows the pointer of a rejection, which must lead to a value or be that of a missing member.
func checkPointer(t *testing.T, body []byte, r *event.Rejection) {
	t.Helper()
	value := tree(body)
	if r.Pointer == "" {
		return
	}
	for i, token := range strings.Split(r.Pointer, "/")[1:] {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		switch within := value.(type) {
		case map[string]any:
			member, ok := within[token]
			if !ok && !(i == 0 && strings.HasPrefix(r.Detail, "an event must have")) {
				t.Fatalf("%q leads nowhere", r.Pointer)
			}
			value = member
		case []any:
			number, err := strconv.Atoi(token)
			if err != nil || number >= len(within) {
				t.Fatalf("%q leads nowhere", r.Pointer)
			}
			value = within[number]
		case error: // too deep for encoding/json
			return
		default:
			if !strings.Contains(r.Detail, "twice") && !strings.Contains(r.Detail, "deeply") {
				t.Fatalf("%q leads nowhere", r.Pointer)
			}
			return // encoding/json kept the other of two members of one name
		}
	}
}

// FuzzValue puts the fuzzer's bytes where they are judged as a value, so that most runs get past the event's own members.
func FuzzValue(f *testing.F) {
	for i := range uint64(20) {
		f.Add([]byte(newRandomJSON(i, i).value(3)))
	}
	for _, seed := range []string{`{"a":1,"\u0061":2}`, `[1e999,1e-1000,0e-1000,12.5E+3]`, `"\ud83d\ude00\udc00"`, `{"~/":{"":[]}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		v := judge(value, event.MaxDepth-1)
		_, err := event.Decode([]byte(withPayload(string(value))), testID, "org")
		if !v.json || v.halves || tooManyDigits(value) {
			return // FuzzDecode has what can be said about these
		}
		if (err == nil) != v.storable {
			t.Fatalf("storable: %v; got %v", v.storable, err)
		}
	})
}

// tooManyDigits reports whether the bound on all exponents together may apply.
func tooManyDigits(value []byte) bool { return bytes.Count(bytes.ToLower(value), []byte("e")) > 60 }

// FuzzSame compares two payloads, and each with another spelling of itself.
func FuzzSame(f *testing.F) {
	for i := range uint64(20) {
		f.Add([]byte(newRandomJSON(i, i).object(3)), []byte(newRandomJSON(i, i+1).object(3)))
	}
	f.Add([]byte(`{"a":[1,23]}`), []byte(`{"a":[12,3]}`))
	f.Add([]byte(`{"a":{},"":{"}":1}}`), []byte(`{"a":{"}":{},"":1}}`))
	f.Add([]byte(`{"a":["b","c"]}`), []byte(`{"a":["b\"c"]}`))
	f.Add([]byte(`{"a":1e3,"b":"\u0041"}`), []byte(`{"b":"A","a":1000.0}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		same := event.Same("t", a, "t", b)
		if event.Same("t", b, "t", a) != same {
			t.Fatal("not symmetric")
		}
		if event.Same("t", a, "u", a) || !event.Same("t", a, "t", a) {
			t.Fatal("the type does not count, or a payload is not the same as itself")
		}
		if !accepted(a) {
			return
		}
		again, err := json.Marshal(tree(a))
		if err != nil {
			t.Fatal(err)
		}
		for _, spelling := range [][]byte{again, append([]byte(" \n"), a...)} {
			if !event.Same("t", a, "t", spelling) || !event.Same("t", spelling, "t", a) {
				t.Fatalf("not the same as %q", spelling)
			}
		}
		if accepted(b) && same != equal(tree(a), tree(b)) {
			t.Fatalf("got %v", same)
		}
	})
}

// accepted says whether an event may have that payload, and no other members behind it.
func accepted(payload []byte) bool {
	_, err := event.Decode(slices.Concat([]byte(`{"type":"t","payload":`), payload, []byte(`}`)), testID, "org")
	return err == nil && json.Valid(payload)
}

// FuzzBatch checks that a batch is the sum of its items.
func FuzzBatch(f *testing.F) {
	for _, items := range []string{good, good + "\n{}\n" + withPayload(`"\u0000"`), "{\n" + good, "\n\n5\n[]\r\n", ""} {
		f.Add([]byte(items))
		f.Add([]byte("[" + strings.ReplaceAll(items, "\n", ",") + "]"))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		checkLines(t, body)
		checkArray(t, body)
		checkPieces(t, body)
	})
}

func checkLines(t *testing.T, body []byte) {
	t.Helper()
	var want []string
	for line := range bytes.SplitSeq(body, []byte("\n")) {
		if strings.Trim(string(line), " \r\t") != "" {
			want = append(want, outcome(event.Decode(line, testID.Item(len(want)), "org")))
		}
	}
	items, malformed := decodeBatch(t, string(body), event.Lines)
	if (malformed != nil) != (len(want) == 0 || len(want) > event.MaxBatch) {
		t.Fatalf("%d lines: %+v", len(want), malformed)
	}
	if malformed == nil {
		checkItems(t, items, want)
	}
}

func checkArray(t *testing.T, body []byte) {
	t.Helper()
	var raw []json.RawMessage
	isArray := utf8.Valid(body) && bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("[")) && json.Unmarshal(body, &raw) == nil
	items, malformed := decodeBatch(t, string(body), event.Array)
	if (malformed == nil) != (isArray && len(raw) > 0 && len(raw) <= event.MaxBatch) {
		t.Fatalf("array: %v, %d items: %+v", isArray, len(raw), malformed)
	}
	if malformed != nil {
		return
	}
	want := make([]string, len(raw))
	for i, item := range raw {
		want[i] = outcome(event.Decode(item, testID.Item(i), "org"))
	}
	checkItems(t, items, want)
}

func checkPieces(t *testing.T, body []byte) {
	t.Helper()
	for _, format := range []event.Format{event.Array, event.Lines} {
		whole, want := decodeBatch(t, string(body), format)
		inPieces, got := writeBatch(format, pieces(string(body), 1+len(body)%13)...).Items()
		if fmt.Sprint(got) != fmt.Sprint(want) && (want != nil || got != nil) {
			t.Fatalf("format %d: in pieces %v, whole %v", format, got, want)
		}
		if want == nil && summary(inPieces) != summary(whole) {
			t.Fatalf("format %d: in pieces %s, whole %s", format, summary(inPieces), summary(whole))
		}
	}
}

func checkItems(t *testing.T, items []event.Item, want []string) {
	t.Helper()
	got := make([]string, len(items))
	for i, item := range items {
		if item.Rejection != nil {
			got[i] = outcome(item.Event, item.Rejection)
		} else {
			got[i] = outcome(item.Event, nil)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
}

func outcome(e *event.Event, err error) string {
	if err != nil {
		return fmt.Sprintf("%#v", err)
	}
	return fmt.Sprintf("%s %s %q %q %q", e.ID, e.OrgID, e.Type, e.DedupID, e.Payload)
}
