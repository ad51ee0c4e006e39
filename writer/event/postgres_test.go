package event_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"keygate/tests/servers"
	"keygate/writer/event"
)

// database returns a connection to a Postgres that has the table events, with the columns that hold a client's data.
func database(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), servers.Postgres(t).Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	_, err = conn.Exec(t.Context(), `CREATE TABLE events (number int PRIMARY KEY, type text, dedup_id text, payload jsonb)`)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// insert stores events in one statement, numbered from first.
func insert(ctx context.Context, conn *pgx.Conn, first int, events []*event.Event) error {
	var types, dedupIDs, payloads []string
	for _, e := range events {
		types, dedupIDs, payloads = append(types, e.Type), append(dedupIDs, e.DedupID), append(payloads, string(e.Payload))
	}
	_, err := conn.Exec(ctx, `INSERT INTO events SELECT $1 + n - 1, t, d, p::jsonb
		FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS u(t, d, p, n)`, first, types, dedupIDs, payloads)
	return err
}

// checkStorable stores events, reads them back and compares.
func checkStorable(t *testing.T, conn *pgx.Conn, events []*event.Event) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), `TRUNCATE events`); err != nil {
		t.Fatal(err)
	}
	if err := insert(t.Context(), conn, 0, events); err != nil {
		for i, e := range events {
			if err := insert(t.Context(), conn, i, []*event.Event{e}); err != nil {
				t.Errorf("type %.100q, dedup id %.100q, payload %.200q: %v", e.Type, e.DedupID, e.Payload, err)
			}
		}
		t.FailNow()
	}
	rows, err := conn.Query(t.Context(), `SELECT number, type, dedup_id, payload::text FROM events`)
	if err != nil {
		t.Fatal(err)
	}
	var number, count int
	var kind, dedupID string
	var payload []byte
	_, err = pgx.ForEachRow(rows, []any{&number, &kind, &dedupID, &payload}, func() error {
		count++
		if e := events[number]; kind != e.Type || dedupID != e.DedupID || !event.Same(kind, payload, e.Type, e.Payload) {
			t.Errorf("stored %.100q, %.100q, %.200q; got %.100q, %.100q, %.200q",
				e.Type, e.DedupID, e.Payload, kind, dedupID, payload)
		}
		return nil
	})
	if err != nil || count != len(events) {
		t.Fatalf("read %d of %d events: %v", count, len(events), err)
	}
}

func TestWhateverDecodeAcceptsIsStorableInPostgresAndComesBackTheSame(t *testing.T) {
	conn := database(t)
	t.Run("nasty values", func(t *testing.T) {
		var events []*event.Event
		for _, value := range nastyValues() {
			if e, err := event.Decode([]byte(withPayload(value)), testID, "org"); err == nil {
				events = append(events, e)
			}
			if e, err := event.Decode([]byte(withPayload(`[{`+value+`:1}]`)), testID, "org"); err == nil {
				events = append(events, e)
			}
			body := fmt.Sprintf(`{"type":%s,"dedup_id":%[1]s,"payload":{}}`, value)
			if e, err := event.Decode([]byte(body), testID, "org"); err == nil {
				events = append(events, e)
			}
		}
		if len(events) < 100 {
			t.Fatalf("only %d of the values are accepted", len(events))
		}
		checkStorable(t, conn, events)
	})
	t.Run("random documents", func(t *testing.T) {
		for round := range uint64(10) {
			var events []*event.Event
			for i := range uint64(500) {
				r := newRandomJSON(500*round+i, i)
				body := fmt.Sprintf(`{"type":%s,"dedup_id":%s,"payload":%s}`,
					r.text("t"+r.characters()), r.text("d"+r.characters()), r.object(int(i%6)+1))
				e, err := event.Decode([]byte(body), testID, "org")
				if err != nil {
					t.Fatalf("%q: %v", body, err)
				}
				events = append(events, e)
			}
			checkStorable(t, conn, events)
		}
	})
	t.Run("large payloads", func(t *testing.T) {
		var members strings.Builder
		for i := range 50_000 {
			fmt.Fprintf(&members, `"%x":0,`, i)
		}
		for _, value := range []string{ // the smallest values, which grow most in jsonb; many members; long text
			`[` + strings.Repeat("1,", 500_000) + `1]`, `{` + members.String() + `"":0}`,
			`"` + strings.Repeat("x", 8<<20) + `"`,
		} {
			e, err := event.Decode([]byte(withPayload(value)), testID, "org")
			if err != nil {
				t.Fatal(err)
			}
			checkStorable(t, conn, []*event.Event{e})
		}
	})
}

// nastyValues returns JSON values around what Postgres refuses, on both sides of each limit.
func nastyValues() []string {
	values := []string{`""`, `" "`, `"\\u0000"`, `"\\\\u0000"`, `"\u0001"`, `"\u001f\u007f\u0080"`, `"\ud83d\ude00"`,
		`"\\ud83d"`, `"\ufffe\uffff\ufdd0"`, `"\ud7ff\ue000\ufffd"`, `"\udbff\udfff"`, `"\""`, `"'"`, `"{}"`, `"{a,b}"`,
		`"NULL"`, `"\\"`, `"\\N"`, `"\/"`, `"$1"`, `"%s"`, `"-- "`, `";"`, `"\u2028\u2029"`, `"\ufeff"`, `"null"`,
		`[]`, `[[]]`, `{}`, `{"":{}}`, `null`, `true`, `false`,
		`0`, `-0`, `-0.0e-0`, `0e99999`, `1E400`, `-1e-400`, `123456789012345678901234567890.123456789e-20`,
		`0.` + strings.Repeat("0", 2000) + `1e2001`, `1e` + strings.Repeat("0", 2000) + `1`,
	}
	for c := range rune(0x21) {
		values = append(values, fmt.Sprintf(`"\u%04x"`, c))
	}
	for _, c := range []rune{0x7f, 0x80, 0xa0, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xfdd0, 0xfeff, 0xfffd, 0xfffe, 0xffff, 0x10000,
		0x1fffe, 0x10fffe, 0x10ffff} {
		values = append(values, `"`+string(c)+`"`)
	}
	for _, half := range []string{`\ud800`, `\udbff`, `\udc00`, `\udfff`} {
		values = append(values, `"`+half+`"`, `"a`+half+`b"`, `"`+half+half+`"`, `"`+half+`\udc00"`, `"\ud800`+half+`"`)
	}
	for _, size := range []int{254, 255, 256} {
		values = append(values, `"`+strings.Repeat("x", size)+`"`, `"`+strings.Repeat("é", size/2)+`"`)
	}
	for _, exponent := range []int{998, 999, 1000, 16383, 16384, 131071, 131072, math.MaxInt32 / 2, math.MaxInt32, math.MaxInt64} {
		for _, mantissa := range []string{"0", "1", "-9.99", "0.00001", "100000", "0.0"} {
			values = append(values, fmt.Sprintf("%se%d", mantissa, exponent), fmt.Sprintf("%sE-%d", mantissa, exponent))
		}
	}
	for _, digits := range []int{999, 1000, 1001} {
		nines := strings.Repeat("9", digits)
		values = append(values, nines, "-"+nines, "0."+nines, nines[1:]+".9", nines+"e-500", nines+"e1")
	}
	for _, depth := range []int{62, 63, 64, 1000} {
		values = append(values, strings.Repeat("[", depth)+strings.Repeat("]", depth),
			strings.Repeat(`{"a":[`, depth/2)+`0`+strings.Repeat("]}", depth/2))
	}
	return values
}

func TestPostgresRefusesWhatTheRulesAreMadeFor(t *testing.T) {
	conn := database(t)
	f := func(value, code string) {
		t.Helper()
		_, err := conn.Exec(t.Context(), `SELECT $1::text::jsonb`, withPayload(value))
		if err == nil || !strings.Contains(err.Error(), "SQLSTATE "+code) {
			t.Errorf("%.40q: got %v, want SQLSTATE %s", value, err, code)
		}
		if r := rejectionOf(t, withPayload(value)); r.Kind != event.Invalid {
			t.Errorf("%.40q: got %+v", value, r)
		}
	}
	f(`"\u0000"`, "22P05")
	f(`{"\u0000":1}`, "22P05")
	f(`"\ud800"`, "22P02")
	f(`"\udc00"`, "22P02")
	f(`"\ud800\u0041"`, "22P02")
	f(`{"\udc00":1}`, "22P02")
	f(`1e131072`, "22003")
	f(`1e-16384`, "22003")
	f(`0e-16384`, "22003")
	f(`0e1073741823`, "22003")
}
