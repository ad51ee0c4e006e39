package sinktest

import (
	"context"
	"errors"
	"testing"

	"keygate/shared/database"
	"keygate/writer/commit"
	"keygate/writer/event"
)

// Run proves the contract on the sinks that open makes, each time on a database of its own from empty.
func Run(t *testing.T, empty func(testing.TB) database.URL, open Opener) {
	for name, test := range map[string]func(*fixture){
		"A batch is stored with one pending delivery for each event": (*fixture).testInsert,
		"A batch that is run again converges":                        (*fixture).testRerun,
		"A dedup id is taken once in its organisation":               (*fixture).testDedup,
		"An id is its organisation's":                                (*fixture).testSameIDInTwoOrganisations,
		"The own id is found before the dedup id":                    (*fixture).testOwnIDFirst,
		"Find answers in order, and nil for what is not there":       (*fixture).testFindOrder,
		"A thousand events of which some are there already":          (*fixture).testThousand,
		"What is valid is stored as it was":                          (*fixture).testPayloads,
		"A large payload is stored":                                  (*fixture).testLargePayload,
		"An empty batch is answered":                                 (*fixture).testEmpty,
		"A refused event undoes its batch":                           (*fixture).testRefused,
		"A commit is seen by another sink at once":                   (*fixture).testVisible,
		"Two sinks with the same events store each once":             (*fixture).testTwoSinks,
		"A call ends with its context, and the next one converges":   (*fixture).testContext,
	} {
		t.Run(name, func(t *testing.T) {
			u := empty(t)
			Migrate(t, u)
			f := &fixture{TB: t, url: u, db: Connect(t, u), open: open}
			f.sink = f.newSink()
			test(f)
			CheckTables(t, f.db)
		})
	}
	t.Run("Missing tables are named until they are there", func(t *testing.T) {
		u := empty(t)
		testUnmigrated(t, u, open(t, u))
	})
}

// A fixture is one test's database, and a sink on it.
type fixture struct {
	testing.TB
	url  database.URL
	db   *database.DB
	open Opener
	sink commit.Sink
}

func (f *fixture) newSink() commit.Sink { return f.open(f, f.url) }

// insert expects success, and as many new rows as said.
func (f *fixture) insert(sink commit.Sink, batch []*event.Event, want int) []bool {
	f.Helper()
	stored, err := sink.Insert(f.Context(), batch)
	if err != nil {
		f.Fatal(err)
	}
	if len(stored) != len(batch) {
		f.Fatalf("%d answers for %d events", len(stored), len(batch))
	}
	fresh := 0
	for _, inserted := range stored {
		if inserted {
			fresh++
		}
	}
	if fresh != want {
		f.Errorf("%d of %d events stored, want %d", fresh, len(batch), want)
	}
	return stored
}

func (f *fixture) find(sink commit.Sink, events ...*event.Event) []*commit.Stored {
	f.Helper()
	found, err := sink.Find(f.Context(), events)
	if err != nil {
		f.Fatal(err)
	}
	if len(found) != len(events) {
		f.Fatalf("%d answers for %d events", len(found), len(events))
	}
	return found
}

// isStored expects found to be e.
func (f *fixture) isStored(found *commit.Stored, e *event.Event) {
	f.Helper()
	switch {
	case found == nil:
		f.Errorf("event %s was not found", e.ID)
	case found.ID != e.ID || found.DedupID != e.DedupID:
		f.Errorf("found %s %q, want %s %q", found.ID, found.DedupID, e.ID, e.DedupID)
	case !event.Same(found.Type, found.Payload, e.Type, e.Payload):
		f.Errorf("found %q %s, want %q %s", found.Type, found.Payload, e.Type, e.Payload)
	}
}

// failsAs expects a Failure with one of the causes.
func (f *fixture) failsAs(err error, causes ...commit.Cause) {
	f.Helper()
	failure, ok := errors.AsType[*commit.Failure](err)
	if !ok {
		f.Fatalf("got %v, want a Failure", err)
	}
	for _, cause := range causes {
		if failure.Cause == cause {
			return
		}
	}
	f.Errorf("got the cause %v of %v, want %v", failure.Cause, err, causes)
}

func (f *fixture) exec(query string, args ...any) {
	f.Helper()
	if _, err := f.db.ExecContext(context.Background(), query, args...); err != nil {
		f.Fatal(err)
	}
}

// events expects the number of events in the table.
func (f *fixture) events(want int) {
	f.Helper()
	if got := CheckTables(f, f.db); got != want {
		f.Errorf("%d events are stored, want %d", got, want)
	}
}
