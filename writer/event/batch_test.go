package event_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"keygate/shared/uuid7"
	"keygate/writer/event"
)

const good = `{"type":"t","payload":{"n":1}}`

// summary shows a batch's items on one line: an event by its type, a rejection by its kind, pointer and reason.
func summary(items []event.Item) string {
	var parts []string
	for _, item := range items {
		switch r := item.Rejection; {
		case (item.Event == nil) == (r == nil):
			parts = append(parts, fmt.Sprintf("both or neither: %v", item))
		case r == nil:
			parts = append(parts, item.Event.Type)
		case r.Kind == event.Malformed:
			parts = append(parts, "malformed "+r.Detail)
		default:
			parts = append(parts, "invalid "+r.Pointer)
		}
	}
	return strings.Join(parts, "; ")
}

// writeBatch writes a body in pieces.
func writeBatch(format event.Format, pieces ...string) *event.Batch {
	b := event.NewBatch(format, testID, "org")
	for _, piece := range pieces {
		b.Write([]byte(piece))
	}
	return b
}

func decodeBatch(tb testing.TB, body string, format event.Format) ([]event.Item, *event.Rejection) {
	tb.Helper()
	items, err := writeBatch(format, body).Items()
	if err == nil {
		return items, nil
	}
	var r *event.Rejection
	if !errors.As(err, &r) || items != nil || r.Kind != event.BatchMalformed || r.Pointer != "" || r.Detail == "" {
		tb.Fatalf("%.60q: got %v, %#v", body, items, err)
	}
	return nil, r
}

func TestAnItemOfABatchIsJudgedByItself(t *testing.T) {
	f := func(format event.Format, body, want string) {
		t.Helper()
		items, malformed := decodeBatch(t, body, format)
		if malformed != nil {
			t.Fatalf("%.80q: %s", body, malformed.Detail)
		}
		if got := summary(items); got != want {
			t.Errorf("%.80q: got  %s\nwant %s", body, got, want)
		}
	}
	f(event.Array, `[`+good+`]`, "t")
	f(event.Array, " \n[ "+good+" ,\r\n\t"+good+" ] \n", "t; t")
	f(event.Array, `[`+good+`,5,null,"x",[{}],{},`+good+`]`, "t; invalid ; invalid ; invalid ; invalid ; invalid /type; t")
	f(event.Array, `[{"type":"","payload":{}},`+good+`]`, "invalid /type; t")
	f(event.Array, `[`+good+`,{"type":"a","payload":{"x":[0,"\u0000"]}},{"type":"b","payload":{"x":[0,"\u0001"]}}]`,
		"t; invalid /payload/x/1; b")
	f(event.Array, `[`+withPayload(strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000))+`,`+good+`]`,
		"invalid /payload/v"+strings.Repeat("/0", 63)+"; t")
	f(event.Array, `[`+withPayload(`{"a":1,"a":2}`)+`,`+withPayload(`{"a":1}`)+`]`, "invalid /payload/v/a; t")
	f(event.Array, `[`+withPayload(`[`+strings.Repeat("1e999,", 60)+`0]`)+`,`+withPayload(`[`+strings.Repeat("1e999,", 60)+`0]`)+`]`,
		"t; t")

	f(event.Lines, good, "t")
	f(event.Lines, good+"\n", "t")
	f(event.Lines, "\n \t\r\n"+good+"\r\n\n"+good+"\n\n", "t; t")
	f(event.Lines, good+"\n{\"type\":\n"+good+"\n{}\n5", "t; malformed not valid JSON at byte offset 8: it ends too early; t; "+
		"invalid /type; invalid ")
	f(event.Lines, good+good+"\n"+good, "malformed not valid JSON at byte offset 30: expected nothing after the value; t")
	f(event.Lines, "\ufeff"+good+"\n"+good, "malformed not valid JSON at byte offset 0: send it without a byte order mark; t")
	f(event.Lines, "[\n"+good+"\n]", "malformed not valid JSON at byte offset 1: it ends too early; t; "+
		"malformed not valid JSON at byte offset 0: expected a value")
	f(event.Lines, "\xff\n"+good, "malformed not valid JSON at byte offset 0: expected a value; t")
	f(event.Lines, "\x00\n"+good, "malformed not valid JSON at byte offset 0: expected a value; t")
}

func TestABatchWhoseItemsCannotBeToldApartIsRefusedWhole(t *testing.T) {
	f := func(format event.Format, body, want string) {
		t.Helper()
		items, malformed := decodeBatch(t, body, format)
		if malformed == nil || !strings.HasPrefix(malformed.Detail, want) {
			t.Errorf("%.80q: got %s, %+v; want %q", body, summary(items), malformed, want)
		}
	}
	const empty = "the batch is empty; send 1 to 1000 events"
	f(event.Array, `[]`, empty)
	f(event.Array, ` [ ] `, empty)
	f(event.Lines, ``, empty)
	f(event.Lines, " \r\n\t\n", empty)

	f(event.Array, ``, "not valid JSON at byte offset 0: it ends too early")
	f(event.Array, good, "not valid JSON at byte offset 0: expected an array of events")
	f(event.Array, "\ufeff["+good+"]", "not valid JSON at byte offset 0: send it without a byte order mark")
	f(event.Array, `[`, "item 0: not valid JSON at byte offset 1: it ends too early")
	f(event.Array, `[`+good, "after item 0: not valid JSON at byte offset 31: it ends too early")
	f(event.Array, `[`+good+`,]`, "item 1: not valid JSON at byte offset 32: expected a value")
	f(event.Array, `[`+good+` `+good+`]`, "after item 0: not valid JSON at byte offset 32: expected a comma")
	f(event.Array, `[`+good+`}`, "after item 0: not valid JSON at byte offset 31: expected a comma")
	f(event.Array, `[`+good+`,{"type":tru},`+good+`]`, "item 1: not valid JSON at byte offset 40: expected a value")
	f(event.Array, `[{},"`+"\xff"+`"]`, "item 1: not valid JSON at byte offset 5: the string is not valid UTF-8")
	f(event.Array, `[`+good+`]]`, "not valid JSON at byte offset 32: expected nothing after the value")
	f(event.Array, `[]x`, "not valid JSON at byte offset 2: expected nothing after the value")

	many := func(count int, separator string) string {
		return strings.Repeat(good+separator, count-1) + good
	}
	const tooMany = "the batch has more than 1000 events"
	f(event.Array, `[`+many(1001, ",")+`]`, tooMany)
	f(event.Lines, many(1001, "\n"), tooMany)
	for format, body := range map[event.Format]string{
		event.Array: `[` + many(1000, ",") + `]`, event.Lines: many(1000, "\n\n") + "\n \n",
	} {
		items, malformed := decodeBatch(t, body, format)
		if malformed != nil || len(items) != 1000 {
			t.Errorf("1,000 items in format %d: got %d, %+v", format, len(items), malformed)
		}
	}
}

func TestItemsOfABatchHaveTheIDsOfTheirNumbers(t *testing.T) {
	for format, body := range map[event.Format]string{
		event.Array: `[` + good + `,{},` + good + `]`, event.Lines: good + "\n\n{\n" + good,
	} {
		items, malformed := decodeBatch(t, body, format)
		if malformed != nil {
			t.Fatal(malformed)
		}
		got := []uuid7.ID{items[0].Event.ID, items[2].Event.ID}
		if want := []uuid7.ID{testID.Item(0), testID.Item(2)}; !slices.Equal(got, want) {
			t.Errorf("format %d: got %v, want %v", format, got, want)
		}
		if items[0].Event.OrgID != "org" || items[2].Event.OrgID != "org" {
			t.Errorf("format %d: an organisation is missing", format)
		}
	}
}

// However a body is cut into pieces, the fault of the whole is the fault of the pieces, and the place of it too.
func TestABatchIsTheSameInWhateverPiecesItComes(t *testing.T) {
	f := func(format event.Format, body string) {
		t.Helper()
		whole, malformed := writeBatch(format, body).Items()
		want := fmt.Sprint(summary(whole), malformed)
		for size := 1; size < len(body); size++ {
			items, malformed := writeBatch(format, pieces(body, size)...).Items()
			if got := fmt.Sprint(summary(items), malformed); got != want {
				t.Fatalf("%.60q in pieces of %d: got  %s\nwant %s", body, size, got, want)
			}
		}
	}
	item := `{"type":"\ud83d\ude00","x":[true,false,null,-1.5e-7,"é😀"],"payload":{"a":"` + strings.Repeat("x", 200) + `"}}`
	for _, body := range []string{
		" [ " + item + " ,\n" + good + ", 5 ,null,{}\t] \n ", "[" + good + `,"\ud83d",` + item + "]", "[ ]", " [",
		"[" + item + ",tru]", "[" + item + `,{"type":"\ud83dx`, "[" + good + `,{"a":"\u12"}]`, "[" + good + ",{\"\xf0\x9f",
		"[" + item + item + "]", "[" + item + ",]", "[" + good + "]x", "\ufeff[" + good + "]", "[\ufeff" + good + "]", "x" + item,
		"[" + strings.Repeat("0,", event.MaxBatch) + "0]", "[12345678901234567890, 1e5,0.5]", "[" + item + ",{}}",
	} {
		f(event.Array, body)
	}
	for _, body := range []string{
		item + "\n\n" + good + "\r\n \n" + item, good + "\n{\"type\n" + item, "\ufeff" + good + "\n", "\n", strings.Repeat("0\n", 1001),
	} {
		f(event.Lines, body)
	}
}

func pieces(body string, size int) (list []string) {
	for ; len(body) > size; body = body[size:] {
		list = append(list, body[:size])
	}
	return append(list, body)
}

func TestItemsOfABatchAliasNothingOfTheBody(t *testing.T) {
	for format, text := range map[event.Format]string{
		event.Array: `[` + good + `,` + good + `]`, event.Lines: good + "\n" + good,
	} {
		b := event.NewBatch(format, testID, "org")
		for piece := []byte(text); len(piece) > 0; piece = piece[1:] {
			b.Write(piece[:1])
			piece[0] = 0
		}
		items, err := b.Items()
		if err != nil {
			t.Fatal(err)
		}
		for i, item := range items {
			if item.Event.Type != "t" || string(item.Event.Payload) != `{"n":1}` {
				t.Errorf("format %d, item %d: got %q, %q", format, i, item.Event.Type, item.Event.Payload)
			}
		}
	}
}
