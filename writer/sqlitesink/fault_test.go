package sqlitesink_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"keygate/shared/database"
	"keygate/writer/commit"
	"keygate/writer/sinktest"
	"keygate/writer/sqlitesink"
)

// start returns an open sink on a migrated file, and a connection beside it.
func start(t *testing.T) (*sqlitesink.Sink, *database.DB) {
	t.Helper()
	u := emptyFile(t)
	sinktest.Migrate(t, u)
	sink := open(t, u).(*sqlitesink.Sink)
	if _, err := sink.Insert(t.Context(), sinktest.NewEvents("a", 1)); err != nil {
		t.Fatal(err)
	}
	return sink, sinktest.Connect(t, u)
}

func pragma(t *testing.T, sink *sqlitesink.Sink, text string) {
	t.Helper()
	if err := sink.Pragma(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

func TestAFullDiskRefusesBatchesAndHarmsNothing(t *testing.T) {
	sink, db := start(t)
	var pages int
	if err := db.QueryRow("pragma page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	pragma(t, sink, fmt.Sprintf("max_page_count = %d", pages+50))
	var err error
	stored := 1
	for ; err == nil; stored += 20 {
		_, err = sink.Insert(t.Context(), sinktest.NewEvents("a", 20))
	}
	stored -= 20
	if commit.CauseOf(err) != commit.Full {
		t.Fatalf("got %v, want it full", err)
	}
	if got := sinktest.CheckTables(t, db); got != stored {
		t.Errorf("%d events are stored, want %d", got, stored)
	}
	var verdict string
	if err := db.QueryRow("pragma integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("the check says %q, %v", verdict, err)
	}
	if _, err := sink.Insert(t.Context(), sinktest.NewEvents("a", 20)); err != nil {
		t.Error(err) // the limit went with the connection, as if somebody had made room
	}
}

func TestAnotherWriterThatHoldsTheLockIsWaitedFor(t *testing.T) {
	sink, db := start(t)
	pragma(t, sink, "busy_timeout = 20")
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := sink.Insert(t.Context(), sinktest.NewEvents("a", 1)); commit.CauseOf(err) != commit.Unavailable {
		t.Errorf("got %v, want it unavailable", err)
	}
	done := make(chan error)
	go func() {
		_, err := sink.Insert(t.Context(), sinktest.NewEvents("a", 1))
		done <- err
	}()
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAFileThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	u := sinktest.ParseURL(t, "sqlite:"+filepath.Join(dir, "keygate.db"))
	sink := open(t, u)
	if _, err := sink.Insert(t.Context(), nil); commit.CauseOf(err) != commit.Unavailable {
		t.Errorf("got %v, want it unavailable", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	sinktest.Migrate(t, u)
	if _, err := sink.Insert(t.Context(), sinktest.NewEvents("a", 1)); err != nil {
		t.Error(err)
	}
}
