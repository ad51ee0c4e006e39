package migrations_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"keygate/migrations"
	"keygate/shared/database"
	"keygate/tests/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var all = []migrations.Chain{migrations.Changelog, migrations.Auth, migrations.Events}

func TestChainsGoUpAndDownAndUpAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, db *database.DB) {
		for range 2 {
			if err := migrations.Check(t.Context(), db, all...); !errors.Is(err, migrations.ErrPending) {
				t.Fatalf("before: got %v, want ErrPending", err)
			}
			applied, err := migrations.Up(t.Context(), db, all...)
			if err != nil {
				t.Fatal(err)
			}
			if err := migrations.Check(t.Context(), db, all...); err != nil {
				t.Fatalf("after: %v", err)
			}
			if again, err := migrations.Up(t.Context(), db, all...); err != nil || len(again) != 0 {
				t.Fatalf("a second time: %v, %v", again, err)
			}
			states, err := migrations.Status(t.Context(), db, all...)
			if err != nil || len(states) != len(applied) {
				t.Fatalf("status: %v, %v", states, err)
			}
			for undone := 0; undone < len(applied); {
				list, err := migrations.Down(t.Context(), db, all...)
				if err != nil || len(list) == 0 {
					t.Fatalf("down: %v, %v", list, err)
				}
				undone += len(list)
			}
			if names := relations(t, db); len(names) != 0 {
				t.Fatalf("left behind: %v", names)
			}
		}
	})
}

func TestDownUndoesTheLastChainFirst(t *testing.T) {
	onBoth(t, func(t *testing.T, db *database.DB) {
		up(t, db, migrations.Changelog, migrations.Auth)
		list, err := migrations.Down(t.Context(), db, migrations.Changelog, migrations.Auth)
		if err != nil || len(list) != 2 || list[0].Chain != migrations.Auth || list[1].Chain != migrations.Changelog {
			t.Errorf("got %v, %v", list, err)
		}
	})
}

func TestPendingNamesTheCommand(t *testing.T) {
	onBoth(t, func(t *testing.T, db *database.DB) {
		for chain, command := range map[migrations.Chain]string{
			migrations.Changelog: "`proxy migrate up`", migrations.Auth: "`proxy migrate up`",
			migrations.Events: "`writer migrate up`",
		} {
			if err := migrations.Check(t.Context(), db, chain); err == nil || !strings.Contains(err.Error(), command) {
				t.Errorf("%s: got %v, want %s in it", chain, err, command)
			}
		}
	})
}

func TestRunsAtOnceApplyEachMigrationOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, db *database.DB) {
		var (
			running sync.WaitGroup
			mu      sync.Mutex
			applied = map[string]int{}
		)
		for range 4 {
			running.Go(func() {
				list, err := migrations.Up(t.Context(), db, migrations.Changelog, migrations.Auth)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, m := range list {
					applied[m.String()]++
				}
			})
		}
		running.Wait()
		if len(applied) != 2 {
			t.Errorf("applied %v", applied)
		}
		for name, times := range applied {
			if times != 1 {
				t.Errorf("%s was applied %d times", name, times)
			}
		}
	})
}

func TestTablesOfAnotherProgramStopARunBeforeItChangesAnything(t *testing.T) {
	onBoth(t, func(t *testing.T, db *database.DB) {
		for table, run := range map[string]func() error{
			"organizations": func() error {
				_, err := migrations.Up(t.Context(), db, migrations.Changelog, migrations.Auth)
				return err
			},
			"event_deliveries": func() error {
				_, err := migrations.Up(t.Context(), db, migrations.Events)
				return err
			},
		} {
			exec(t, db, "create table "+table+" (id int)")
			err := run()
			var conflict *migrations.TableError
			if !errors.As(err, &conflict) || conflict.Table != table {
				t.Fatalf("%s: got %v, want a TableError", table, err)
			}
			if advice := "--key-query"; strings.Contains(err.Error(), advice) != (table == "organizations") {
				t.Errorf("%s: got %q", table, err)
			}
			if names := relations(t, db); len(names) != 1 {
				t.Errorf("%s: the database now holds %v", table, names)
			}
			exec(t, db, "drop table "+table)
		}
	})
}

func TestASchemaOfItsOwnKeepsKeygateApart(t *testing.T) {
	url := servers.Postgres(t).Database(t)
	public := open(t, url)
	exec(t, public, "create table organizations (id int)")
	own := open(t, withSearchPath(url, "keygate,public"))
	if _, err := migrations.Up(t.Context(), own, migrations.Changelog, migrations.Auth); err == nil {
		t.Fatal("without the schema, its tables would have gone to public")
	}
	exec(t, public, "create schema keygate")
	up(t, own, migrations.Changelog, migrations.Auth)
	if _, err := public.ExecContext(t.Context(), "insert into keygate.organizations (id, name) values ('o', 'O')"); err != nil {
		t.Error(err)
	}
	nowhere := open(t, withSearchPath(url, "missing"))
	if _, err := migrations.Up(t.Context(), nowhere, migrations.Changelog); err == nil || !strings.Contains(err.Error(), "create schema") {
		t.Errorf("no schema: got %v", err)
	}
}

func TestAuthNeedsTheChangelog(t *testing.T) {
	onBoth(t, func(t *testing.T, db *database.DB) {
		if _, err := migrations.Up(t.Context(), db, migrations.Auth); !errors.Is(err, migrations.ErrNeeds) {
			t.Errorf("got %v, want ErrNeeds", err)
		}
		if names := relations(t, db); len(names) != 0 {
			t.Errorf("the database now holds %v", names)
		}
		up(t, db, migrations.Changelog)
		up(t, db, migrations.Auth)
	})
}

func TestADatabaseOfANewerKeygateIsLeftAlone(t *testing.T) {
	onBoth(t, func(t *testing.T, db *database.DB) {
		up(t, db, migrations.Changelog)
		exec(t, db, "insert into keygate_migrations_changelog (version, name) values (99, 'future')")
		for name, run := range map[string]func() error{
			"check": func() error { return migrations.Check(t.Context(), db, migrations.Changelog) },
			"up":    func() error { _, err := migrations.Up(t.Context(), db, migrations.Changelog); return err },
			"down":  func() error { _, err := migrations.Down(t.Context(), db, migrations.Changelog); return err },
		} {
			if err := run(); !errors.Is(err, migrations.ErrNewer) {
				t.Errorf("%s: got %v, want ErrNewer", name, err)
			}
		}
	})
}

func onBoth(t *testing.T, test func(t *testing.T, db *database.DB)) {
	t.Run("postgres", func(t *testing.T) { test(t, open(t, servers.Postgres(t).Database(t))) })
	t.Run("sqlite", func(t *testing.T) { test(t, open(t, "sqlite:"+filepath.Join(t.TempDir(), "keygate.db"))) })
}

func open(tb testing.TB, text string) *database.DB {
	tb.Helper()
	u, err := database.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	db, err := database.Open(tb.Context(), u)
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

func withSearchPath(url, schemas string) string {
	separator := "?"
	if strings.Contains(url, "?") {
		separator = "&"
	}
	return url + separator + "search_path=" + schemas
}

func up(tb testing.TB, db *database.DB, chains ...migrations.Chain) {
	tb.Helper()
	if _, err := migrations.Up(tb.Context(), db, chains...); err != nil {
		tb.Fatal(err)
	}
}

func exec(tb testing.TB, db *database.DB, query string, args ...any) {
	tb.Helper()
	if _, err := db.ExecContext(tb.Context(), query, args...); err != nil {
		tb.Fatal(err)
	}
}

// relations lists everything that somebody made in the database.
func relations(tb testing.TB, db *database.DB) []string {
	tb.Helper()
	query := "select name from sqlite_schema where name not like 'sqlite_%'"
	if db.Dialect == database.Postgres {
		query = `select relname from pg_class where relnamespace = 'public'::regnamespace
			union all select proname from pg_proc where pronamespace = 'public'::regnamespace`
	}
	rows, err := db.QueryContext(context.Background(), query)
	if err != nil {
		tb.Fatal(err)
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			tb.Fatal(err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		tb.Fatal(err)
	}
	return names
}
