package migrations

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"keygate/shared/database"
)

func TestTheShippedChainsAreCompleteInBothDialects(t *testing.T) {
	for _, chain := range []Chain{Changelog, Auth, Events} {
		var names [][]string
		for _, dialect := range []database.Dialect{database.Postgres, database.SQLite} {
			list, err := load(files, chain, dialect)
			if err != nil {
				t.Fatal(err)
			}
			var these []string
			for _, m := range list {
				these = append(these, m.String())
			}
			names = append(names, these)
		}
		if !slices.Equal(names[0], names[1]) {
			t.Errorf("PostgreSQL has %v, SQLite %v", names[0], names[1])
		}
	}
}

func TestIncompleteChainsAreRefused(t *testing.T) {
	refused := func(want string, names ...string) {
		t.Helper()
		source := fstest.MapFS{}
		for _, name := range names {
			source["events/sqlite/"+name] = &fstest.MapFile{Data: []byte("select 1")}
		}
		if _, err := load(source, Events, database.SQLite); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q in it", names, err, want)
		}
	}
	refused("finding the chain")
	refused("migration 1 is missing or half of it is", "0001_a.up.sql")
	refused("migration 2 is missing or half of it is", "0001_a.up.sql", "0001_a.down.sql", "0003_c.up.sql", "0003_c.down.sql")
	refused("has two names", "0001_a.up.sql", "0001_b.down.sql")
	refused("is not named", "0001_a.sql")
}

func TestAMigrationThatFailsHalfwayLeavesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keygate.db")
	handle, err := database.OpenSQLite(t.Context(), path, database.SQLiteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	db := &database.DB{DB: handle, Dialect: database.SQLite}
	broken := Migration{Chain: Auth, Version: 1, Name: "broken", up: "create table half (x); select * from nowhere"}
	if _, err := step(context.Background(), db, broken, true); err == nil {
		t.Fatal("it was applied")
	}
	for _, table := range []string{"half", Auth.versionTable()} {
		if found, err := hasTable(t.Context(), db, db.Dialect, table); err != nil || found {
			t.Errorf("%s: %v, %v", table, found, err)
		}
	}
}

func TestTablesAreReadFromTheMigrationItself(t *testing.T) {
	m := Migration{up: "create table a (x int);\nCREATE TABLE IF NOT EXISTS b (create_table int);\n-- create table c\n" +
		"create unlogged table d (x int); create index e on a (x);"}
	if got := m.tables(); !slices.Equal(got, []string{"a", "b", "d"}) {
		t.Errorf("got %v", got)
	}
}
