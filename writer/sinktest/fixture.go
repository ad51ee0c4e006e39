// Package sinktest is the conformance suite of commit.Sink: what the contract says, proved on a real database.
package sinktest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"keygate/migrations"
	"keygate/shared/database"
	"keygate/shared/uuid7"
	"keygate/writer/commit"
	"keygate/writer/event"
)

// Opener returns a new sink on a database. It is closed when the test ends.
type Opener func(tb testing.TB, u database.URL) commit.Sink

// Migrate gives a database the tables of events.
func Migrate(tb testing.TB, u database.URL) {
	tb.Helper()
	if _, err := migrations.Up(tb.Context(), Connect(tb, u), migrations.Events); err != nil {
		tb.Fatal(err)
	}
}

// Connect opens a connection that is no sink's.
func Connect(tb testing.TB, u database.URL) *database.DB {
	tb.Helper()
	db, err := database.Open(context.Background(), u) // a Cleanup may connect, too
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db
}

// ParseURL reads a database URL.
func ParseURL(tb testing.TB, text string) database.URL {
	tb.Helper()
	u, err := database.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

// NewEvent returns an event that nothing else has.
func NewEvent(orgID, dedupID string) *event.Event {
	id := uuid7.Mint(time.Now())
	return &event.Event{
		ID:      id,
		OrgID:   orgID,
		Type:    "order.created",
		DedupID: dedupID,
		Payload: fmt.Appendf(nil, `{"order": "%s", "amount": 12.50}`, id),
	}
}

// NewEvents returns n events of one organisation without dedup ids, as a batch.
func NewEvents(orgID string, n int) []*event.Event {
	batch := make([]*event.Event, n)
	for i := range batch {
		batch[i] = NewEvent(orgID, "")
	}
	return Sorted(batch...)
}

// Sorted returns events in the order that the contract asks for.
func Sorted(events ...*event.Event) []*event.Event {
	slices.SortFunc(events, func(a, b *event.Event) int {
		if byOrg := strings.Compare(a.OrgID, b.OrgID); byOrg != 0 {
			return byOrg
		}
		if byDedup := strings.Compare(a.DedupID, b.DedupID); byDedup != 0 {
			return byDedup
		}
		return bytes.Compare(a.ID[:], b.ID[:])
	})
	return events
}

// Await waits until a condition holds of which no signal tells.
func Await(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("still not: %s", what)
		}
	}
}

// CheckTables verifies what holds at any time: each event has exactly one delivery, with its id and organisation, and no
// delivery is without its event. It returns the number of events.
func CheckTables(tb testing.TB, db *database.DB) int {
	tb.Helper()
	var events, deliveries, pairs int
	const count = `select (select count(*) from events), (select count(*) from event_deliveries),
		(select count(*) from events e join event_deliveries d on d.id = e.id and d.org_id = e.org_id
			where d.event_id = e.id and d.created_at = e.created_at)`
	if err := db.QueryRowContext(context.Background(), count).Scan(&events, &deliveries, &pairs); err != nil {
		tb.Fatal(err)
	}
	if events != deliveries || events != pairs {
		tb.Errorf("%d events and %d deliveries make %d pairs", events, deliveries, pairs)
	}
	return events
}
