package sinktest

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"keygate/shared/uuid7"
	"keygate/writer/commit"
	"keygate/writer/event"
)

func (f *fixture) testInsert() {
	e := NewEvent("org", "order-1")
	e.ID = uuid7.Mint(time.UnixMilli(1_700_000_000_007))
	f.insert(f.sink, Sorted(e, NewEvent("org", "")), 2)
	f.events(2)

	var orgID, kind, dedupID, eventID, status string
	var attempts int
	var created, deliveryCreated, nextAttempt any
	const row = `select e.org_id, e.type, e.dedup_id, e.created_at, d.event_id, d.status, d.attempts, d.next_attempt_at,
		d.created_at from events e join event_deliveries d on d.id = e.id where e.id = $1`
	if err := f.db.QueryRow(row, e.ID.String()).Scan(&orgID, &kind, &dedupID, &created, &eventID, &status, &attempts,
		&nextAttempt, &deliveryCreated); err != nil {
		f.Fatal(err)
	}
	got := fmt.Sprint(orgID, " ", kind, " ", dedupID, " ", eventID, " ", status, " ", attempts)
	if want := "org order.created order-1 " + e.ID.String() + " pending 0"; got != want {
		f.Errorf("got %s, want %s", got, want)
	}
	for _, at := range []any{created, deliveryCreated, nextAttempt} {
		if text := timeText(at); text != "2023-11-14T22:13:20.007Z" {
			f.Errorf("got the time %s, want the id's", text)
		}
	}
}

func timeText(value any) string {
	if at, ok := value.(time.Time); ok {
		return at.UTC().Format(time.RFC3339Nano)
	}
	return fmt.Sprint(value)
}

func (f *fixture) testRerun() {
	batch := Sorted(NewEvent("a", "1"), NewEvent("a", ""), NewEvent("b", "1"))
	f.insert(f.sink, batch, 3)
	f.insert(f.sink, batch, 0)
	for i, found := range f.find(f.sink, batch...) {
		f.isStored(found, batch[i])
	}
	f.events(3)
}

func (f *fixture) testDedup() {
	first := NewEvent("a", "order-1")
	f.insert(f.sink, Sorted(first), 1)

	again, other, without := NewEvent("a", "order-1"), NewEvent("b", "order-1"), NewEvent("a", "")
	batch := Sorted(again, other, without)
	stored := f.insert(f.sink, batch, 2)
	for i, e := range batch {
		if stored[i] == (e == again) {
			f.Errorf("event %d: stored is %v", i, stored[i])
		}
	}
	f.isStored(f.find(f.sink, again)[0], first)
	f.events(3)
}

func (f *fixture) testSameIDInTwoOrganisations() {
	one, two := NewEvent("a", ""), NewEvent("b", "")
	two.ID = one.ID
	f.insert(f.sink, Sorted(one), 1)
	if found := f.find(f.sink, two); found[0] != nil {
		f.Errorf("found %v of another organisation", found[0])
	}
	f.insert(f.sink, Sorted(two), 1)
	for i, found := range f.find(f.sink, one, two) {
		f.isStored(found, []*event.Event{one, two}[i])
	}
}

func (f *fixture) testThousand() {
	batch := NewEvents("a", event.MaxBatch)
	for i, e := range batch {
		if i%2 == 0 {
			e.DedupID = fmt.Sprint("order-", i)
		}
	}
	f.insert(f.sink, Sorted(batch[100:200]...), 100)
	earlier := make(map[uuid7.ID]bool)
	for _, e := range batch[100:200] {
		earlier[e.ID] = true
	}
	Sorted(batch...)
	for i, stored := range f.insert(f.sink, batch, event.MaxBatch-100) {
		if stored == earlier[batch[i].ID] {
			f.Errorf("event %d: stored is %v", i, stored)
		}
	}
	for i, found := range f.find(f.sink, batch...) {
		f.isStored(found, batch[i])
	}
	f.events(event.MaxBatch)
}

// testPayloads has what a database may stumble over although it is valid.
func (f *fixture) testPayloads() {
	deep := strings.Repeat(`{"a":[`, event.MaxDepth/2) + strings.Repeat(`]}`, event.MaxDepth/2)
	batch := make([]*event.Event, 0, 16)
	for _, payload := range []string{
		`{}`, ` { "" : "" } `, `{"a":"\\u0000"}`, `{"a":"\\"}`, `{"a":"\ud83d\ude00 😀 \u00e9"}`, `{"a":"\b\f\n\r\t\/"}`,
		`{"a":1e400}`, `{"a":1e-400}`, `{"a":-0}`, `{"a":-0.0e-0}`, `{"a":123456789012345678901234567890.5}`,
		`{"a":` + strings.Repeat("9", event.MaxDigits) + `}`, `{"$1":"'; drop table events; --"}`, `{"a":"{1,NULL,\"\"}"}`,
		`{"a":[null,true,false,[],{}]}`, deep,
	} {
		e := NewEvent("payloads", "")
		e.Payload = []byte(payload)
		batch = append(batch, e)
	}
	for _, text := range []string{"'", "\x01\x7f", "é\u0301", "NULL", " ", "{}", `\`, strings.Repeat("é", event.MaxName/2)} {
		e := NewEvent("texts", text)
		e.Type = text
		batch = append(batch, e)
	}
	f.insert(f.sink, Sorted(batch...), len(batch))
	for i, found := range f.find(f.sink, batch...) {
		f.isStored(found, batch[i])
	}
	for _, e := range batch {
		e.ID = uuid7.Mint(time.Now()) // so that only the dedup id is left to go by
	}
	for i, found := range f.find(f.sink, batch...) {
		if e := batch[i]; e.DedupID != "" && (found == nil || found.DedupID != e.DedupID) {
			f.Errorf("%q was not found by its dedup id", e.DedupID)
		}
	}
}

func (f *fixture) testLargePayload() {
	e := NewEvent("a", "large")
	e.Payload = append(append([]byte(`{"a":"`), bytes.Repeat([]byte("0123456789abcdef"), event.MaxBatchBody/16)...), `"}`...)
	f.insert(f.sink, Sorted(e, NewEvent("a", "")), 2)
	f.isStored(f.find(f.sink, e)[0], e)
}

func (f *fixture) testEmpty() {
	f.insert(f.sink, nil, 0)
	f.find(f.sink)
	f.events(0)
}

// testRefused has a delivery in the way of an event that is not there, as somebody's careless DELETE would leave it.
func (f *fixture) testRefused() {
	good, bad := NewEvent("a", "1"), NewEvent("a", "2")
	f.exec(`insert into event_deliveries (id, org_id, event_id, next_attempt_at, created_at)
		values ($1, 'a', $1, '2026-01-01', '2026-01-01')`, bad.ID.String())
	_, err := f.sink.Insert(f.Context(), Sorted(good, bad))
	f.failsAs(err, commit.Refused)
	if found := f.find(f.sink, good, bad); found[0] != nil || found[1] != nil {
		f.Errorf("found %v and %v, want nothing of the batch", found[0], found[1])
	}
	f.insert(f.sink, Sorted(good), 1)
	f.exec(`delete from event_deliveries where id = $1`, bad.ID.String())
	f.insert(f.sink, Sorted(bad), 1)
}
