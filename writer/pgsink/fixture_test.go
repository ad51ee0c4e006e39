package pgsink_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"keygate/shared/database"
	"keygate/writer/commit"
	"keygate/writer/event"
	"keygate/writer/pgsink"
	"keygate/writer/sinktest"
)

// ours selects the sinks' sessions in the database.
const ours = "application_name = 'keygate-writer' and datname = current_database()"

// A fixture is one migrated database and a sink on it.
type fixture struct {
	testing.TB
	url  database.URL
	sink *pgsink.Sink
	last []*event.Event // inserted
}

// newFixture makes a schema of its own in a database.
func newFixture(tb testing.TB, database string) *fixture {
	tb.Helper()
	u := emptySchema(tb, database)
	sinktest.Migrate(tb, u)
	return &fixture{TB: tb, url: u, sink: newSink(tb, pgsink.Config{URL: u})}
}

// insert expects n new events to be stored.
func (f *fixture) insert(n int) {
	f.Helper()
	f.last = sinktest.NewEvents("a", n)
	stored, err := f.sink.Insert(f.Context(), f.last)
	if err != nil {
		f.Fatal(err)
	}
	if slices.Contains(stored, false) {
		f.Errorf("stored: %v", stored)
	}
}

func (f *fixture) tryInsert(batch []*event.Event) error {
	_, err := f.sink.Insert(f.Context(), batch)
	return err
}

func (f *fixture) insertFails(causes ...commit.Cause) {
	f.Helper()
	f.failsAs(f.tryInsert(sinktest.NewEvents("a", 2)), causes...)
}

// insertLater inserts in the background. The test receives from the channel before it uses the sink again.
func (f *fixture) insertLater(batch []*event.Event) <-chan error {
	failed := make(chan error, 1)
	go func() { failed <- f.tryInsert(batch) }()
	return failed
}

func (f *fixture) failsAs(err error, causes ...commit.Cause) {
	f.Helper()
	if err == nil || !slices.Contains(causes, commit.CauseOf(err)) {
		f.Errorf("got the cause %v of %v, want %v", commit.CauseOf(err), err, causes)
	}
}

// converges runs a batch again, whatever became of it, and expects each event to be there once.
func (f *fixture) converges(batch []*event.Event) {
	f.Helper()
	sinktest.Await(f, "the batch is taken", func() bool { // the link's end may still be news to the sink
		return f.tryInsert(batch) == nil
	})
	found, err := f.sink.Find(f.Context(), batch)
	if err != nil {
		f.Fatal(err)
	}
	for i, e := range batch {
		if found[i] == nil || found[i].ID != e.ID {
			f.Errorf("event %s: found %v", e.ID, found[i])
		}
	}
	sinktest.CheckTables(f, sinktest.Connect(f, f.url))
}

// lock keeps every insert waiting until it is released.
func (f *fixture) lock() (release func()) {
	f.Helper()
	tx, err := sinktest.Connect(f, f.url).BeginTx(context.Background(), nil)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := tx.Exec("lock table events in exclusive mode"); err != nil {
		f.Fatal(err)
	}
	return func() { tx.Rollback() }
}

func (f *fixture) awaitLockWait() {
	f.Helper()
	f.await("select count(*) > 0 from pg_stat_activity where wait_event_type = 'Lock' and " + ours)
}

// await asks until the answer is true.
func (f *fixture) await(question string) {
	f.Helper()
	db := sinktest.Connect(f, f.url)
	sinktest.Await(f, question, func() (answer bool) {
		if err := db.QueryRow(question).Scan(&answer); err != nil {
			f.Fatal(err)
		}
		return answer
	})
}

func (f *fixture) scan(query string) (text string) {
	f.Helper()
	if err := sinktest.Connect(f, f.url).QueryRow(query).Scan(&text); err != nil {
		f.Fatal(err)
	}
	return text
}

func (f *fixture) backend() string {
	f.Helper()
	return f.scan("select pid::text from pg_stat_activity where " + ours)
}

func (f *fixture) exec(statement string) {
	f.Helper()
	if _, err := sinktest.Connect(f, f.url).ExecContext(context.Background(), statement); err != nil {
		f.Fatal(err)
	}
}

// setting changes a setting of the whole server, and waits until it holds.
func (f *fixture) setting(name, value string) {
	f.Helper()
	f.exec(fmt.Sprintf("alter system set %s = %s", name, value))
	f.exec("select pg_reload_conf()")
	f.await(fmt.Sprintf("select current_setting('%s') = %s", name, value))
}
