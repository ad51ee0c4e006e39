package prune_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"keygate/migrations"
	"keygate/shared/database"
	"keygate/shared/uuid7"
	"keygate/tests/servers"
	"keygate/writer/prune"
)

func onBoth(t *testing.T, test func(t *testing.T, db *database.DB)) {
	urls := map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "e.db") },
		"postgres": func(t *testing.T) string { return servers.Postgres(t).Database(t) },
	}
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			parsed, err := database.Parse(url(t))
			if err != nil {
				t.Fatal(err)
			}
			db, err := database.Open(t.Context(), parsed)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { db.Close() })
			if _, err := migrations.Up(t.Context(), db, migrations.Events); err != nil {
				t.Fatal(err)
			}
			test(t, db)
		})
	}
}

// store puts n events of the age into the database, every third of them with a pending delivery.
func store(t *testing.T, db *database.DB, n int, age time.Duration) {
	t.Helper()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	at := time.Now().Add(-age)
	for i := range n {
		id, org, status := uuid7.Mint(at).String(), fmt.Sprint("org-", i%7), "delivered"
		if i%3 == 0 {
			status = "pending"
		}
		created := at.UTC().Format("2006-01-02T15:04:05.000Z")
		_, err := tx.Exec(`insert into events (id, org_id, type, payload, created_at) values ($1, $2, 't', '{}', $3)`, id, org, created)
		if err == nil {
			_, err = tx.Exec(`insert into event_deliveries (id, org_id, event_id, status, next_attempt_at, created_at)
				values ($1, $2, $3, $4, $5, $6)`, id, org, id, status, created, created)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, db *database.DB, from string) (n int) {
	t.Helper()
	if err := db.QueryRow("select count(*) from " + from).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

const day = 24 * time.Hour

func TestOldEventsGoAndPendingOnesStay(t *testing.T) {
	onBoth(t, func(t *testing.T, db *database.DB) {
		store(t, db, 2400, 2*day) // three pages, a third of each spared
		store(t, db, 30, time.Hour)
		pages := 0
		tally, err := prune.Run(t.Context(), db, prune.Config{
			Before: time.Now().Add(-day), Progress: func(prune.Tally) { pages++ },
		})
		if err != nil || tally != (prune.Tally{Seen: 2400, Removed: 1600}) || pages != 3 {
			t.Errorf("got %+v in %d pages, %v", tally, pages, err)
		}
		if events, deliveries := count(t, db, "events"), count(t, db, "event_deliveries"); events != 830 || deliveries != 830 {
			t.Errorf("%d events and %d deliveries are left", events, deliveries)
		}
		if n := count(t, db, "event_deliveries where status = 'pending'"); n != 810 {
			t.Errorf("%d pending deliveries are left", n)
		}
		tally, err = prune.Run(t.Context(), db, prune.Config{
			Before: time.Now().Add(-day), IncludePending: true, Progress: func(prune.Tally) {},
		})
		if err != nil || tally != (prune.Tally{Seen: 800, Removed: 800}) {
			t.Errorf("with pending ones: got %+v, %v", tally, err)
		}
		if events, deliveries := count(t, db, "events"), count(t, db, "event_deliveries"); events != 30 || deliveries != 30 {
			t.Errorf("%d events and %d deliveries are left", events, deliveries)
		}
	})
}

func TestNothingOldIsNothingToDo(t *testing.T) {
	onBoth(t, func(t *testing.T, db *database.DB) {
		store(t, db, 3, time.Hour)
		tally, err := prune.Run(t.Context(), db, prune.Config{
			Before: time.Now().Add(-day), Progress: func(prune.Tally) { t.Error("there was progress") },
		})
		if err != nil || tally != (prune.Tally{}) {
			t.Errorf("got %+v, %v", tally, err)
		}
	})
}

func TestARunThatWasBrokenOffIsResumedByAnother(t *testing.T) {
	onBoth(t, func(t *testing.T, db *database.DB) {
		store(t, db, 2400, 2*day)
		ctx, cancel := context.WithCancel(t.Context())
		tally, err := prune.Run(ctx, db, prune.Config{
			Before: time.Now().Add(-day), Progress: func(prune.Tally) { cancel() },
		})
		if !errors.Is(err, context.Canceled) || tally.Seen != 1000 {
			t.Errorf("broken off after a page: got %+v, %v", tally, err)
		}
		if n := count(t, db, "events"); n != 2400-tally.Removed {
			t.Errorf("%d events are left of 2400, of which %d were said to be removed", n, tally.Removed)
		}
		again, err := prune.Run(t.Context(), db, prune.Config{
			Before: time.Now().Add(-day), Progress: func(prune.Tally) {},
		})
		if err != nil || tally.Removed+again.Removed != 1600 {
			t.Errorf("run again: got %+v after %+v, %v", again, tally, err)
		}
		if events, deliveries := count(t, db, "events"), count(t, db, "event_deliveries"); events != 800 || deliveries != 800 {
			t.Errorf("%d events and %d deliveries are left", events, deliveries)
		}
	})
}
