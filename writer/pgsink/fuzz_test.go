package pgsink_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"keygate/shared/uuid7"
	"keygate/tests/servers"
	"keygate/writer/event"
	"keygate/writer/pgsink"
	"keygate/writer/sinktest"
)

// FuzzWhateverIsValidIsStorable stores each event that validation lets pass by the writer's own statement, reads it back,
// and compares. Label is what type and dedup_id have between their quotes, value a part of the payload.
func FuzzWhateverIsValidIsStorable(f *testing.F) {
	for _, value := range []string{
		`{}`, `[1,{"a":"\ud83d\ude00"},-1.5e-7]`, `"\\u0000"`, `"\u0001\u001f\u007f\u0080\ufffe\uffff"`, `1e999`, `0e-99999`, `-0.0E+0`,
		`123456789012345678901234567890.123456789e-20`, `{"":{"":[null,true,false]}}`, `"\"'{}$1\\N"`, `{"a":1,"\u0062":2}`,
		strings.Repeat("9", 1000), "0." + strings.Repeat("0", 998) + "1", `"` + strings.Repeat("é", 300) + `"`,
		strings.Repeat("[", 62) + strings.Repeat("]", 62), `[` + strings.Repeat("1e999,", 70) + `0]`, "\"\u2028\ufeff\U0010ffff\"",
	} {
		f.Add("a", []byte(value))
	}
	for _, label := range []string{`\u0000`, `\ud83d\ude00`, `\ud83d`, `é\u0301`, "\x7f", `\\`, `\"`, `'`, " ", "NULL", strings.Repeat("x", 255)} {
		f.Add(label, []byte("0"))
	}
	u := sinktest.ParseURL(f, servers.Postgres(f).Database(f))
	sinktest.Migrate(f, u)
	sink, err := pgsink.New(pgsink.Config{ // what is asked here is whether it is taken, and that faster
		URL: with(f, u, "synchronous_commit", "off"), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(sink.Close)
	f.Fuzz(func(t *testing.T, label string, value []byte) {
		body := fmt.Sprintf(`{"type":"%s","dedup_id":"%[1]s","payload":{"v":%s}}`, label, value)
		e, err := event.Decode([]byte(body), uuid7.Mint(time.Now()), "org")
		if rejection, ok := errors.AsType[*event.Rejection](err); ok {
			if rejection.Detail == "" {
				t.Fatal("rejected without a reason")
			}
			return
		}
		e.OrgID = e.ID.String() // so that no dedup id is taken
		stored, err := sink.Insert(context.Background(), []*event.Event{e})
		if err != nil || !stored[0] {
			t.Fatalf("stored: %v, %v", stored, err)
		}
		found, err := sink.Find(context.Background(), []*event.Event{e})
		if err != nil || found[0] == nil {
			t.Fatalf("found: %v, %v", found, err)
		}
		if got := found[0]; got.DedupID != e.DedupID || !event.Same(got.Type, got.Payload, e.Type, e.Payload) {
			t.Fatalf("got %q %q %s", got.Type, got.DedupID, got.Payload)
		}
	})
}
