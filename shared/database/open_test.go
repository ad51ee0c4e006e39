package database_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"keygate/shared/database"
	"keygate/tests/servers"
)

func TestPostgresAnswers(t *testing.T) {
	u, err := database.Parse(servers.Postgres(t).Database(t))
	if err != nil {
		t.Fatal(err)
	}
	db, err := database.Open(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var sum int
	if err := db.QueryRow("select $1::int + $2::int", 40, 2).Scan(&sum); err != nil || sum != 42 {
		t.Errorf("got %d, %v", sum, err)
	}
}

func TestAnUnreachablePostgresIsOneErrorWithoutPassword(t *testing.T) {
	u, err := database.Parse("postgres://ann:s3cret@127.0.0.1:1/app")
	if err != nil {
		t.Fatal(err)
	}
	if db, err := database.Open(t.Context(), u); err == nil {
		db.Close()
		t.Error("it opened")
	} else if strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("got %q", err)
	}
}

func TestANewSQLiteFileIsPrivateDurableAndHasALog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "odd name?#%20.db")
	db := openSQLite(t, path, database.SQLiteOptions{})
	if _, err := db.Exec("create table t (x); insert into t values (1)"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000",
	} {
		var got string
		if err := db.QueryRow("pragma " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, %v, want %s", pragma, got, err, want)
		}
	}
}

func TestAReadOnlySQLiteFileMustExistAndCannotChange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keygate.db")
	if _, err := database.OpenSQLite(t.Context(), path, database.SQLiteOptions{ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
	writer := openSQLite(t, path, database.SQLiteOptions{})
	if _, err := writer.Exec("create table t (x)"); err != nil {
		t.Fatal(err)
	}
	reader := openSQLite(t, path, database.SQLiteOptions{ReadOnly: true})
	if _, err := reader.Exec("insert into t values (1)"); err == nil {
		t.Error("a read-only connection wrote")
	}
	var rows int
	if err := reader.QueryRow("select count(*) from t").Scan(&rows); err != nil || rows != 0 {
		t.Errorf("got %d rows, %v", rows, err)
	}
}

func TestWhatCannotBeOpenedIsOneClearSentence(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "missing", "x.db"): "the directory " + filepath.Join(dir, "missing") + " does not exist",
		filepath.Join(garbage, "x.db"):        "not a directory",
		garbage:                               "is not a SQLite database",
		dir:                                   "must be readable and writable",
	} {
		db, err := database.OpenSQLite(t.Context(), path, database.SQLiteOptions{})
		if err == nil {
			db.Close()
			t.Errorf("%s opened", path)
		} else if text := err.Error(); !strings.Contains(text, want) || strings.Contains(text, "\n") {
			t.Errorf("%s: got %q, want %q in it", path, text, want)
		}
	}
}

func TestManyOpenANewFileAtOnceAndWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keygate.db")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			db, err := database.OpenSQLite(ctx, path, database.SQLiteOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			defer db.Close()
			if _, err := db.ExecContext(ctx, "create table if not exists t (x)"); err != nil {
				t.Error(err)
			}
			for range 20 {
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					t.Error(err)
					return
				}
				// Without the lock at the beginning, the second of two that have read could not write.
				var rows int
				if err := tx.QueryRowContext(ctx, "select count(*) from t").Scan(&rows); err != nil {
					t.Error(err)
				}
				if _, err := tx.ExecContext(ctx, "insert into t values ($1)", rows); err != nil {
					t.Error(err)
				}
				if err := tx.Commit(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	db := openSQLite(t, path, database.SQLiteOptions{ReadOnly: true})
	var rows, distinct int
	if err := db.QueryRow("select count(*), count(distinct x) from t").Scan(&rows, &distinct); err != nil {
		t.Fatal(err)
	}
	if rows != 160 || distinct != 160 {
		t.Errorf("%d rows, %d distinct, want 160 of each", rows, distinct)
	}
}

func openSQLite(tb testing.TB, path string, options database.SQLiteOptions) *database.DB {
	tb.Helper()
	db, err := database.OpenSQLite(tb.Context(), path, options)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return &database.DB{DB: db, Dialect: database.SQLite}
}
