package sqlitesource_test

import (
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"keygate/migrations"
	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/proxy/auth/keyquery"
	"keygate/proxy/auth/sqlitesource"
	"keygate/shared/database"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A table of another program with every column that a key query may give, and with several rows for a prefix.
const (
	foreignTable = `create table credentials (start text, owner text, digest text, live int, owner_live boolean,
		until text, kind text)`
	foreignQuery = `select digest as key_hash, owner as org_id, live as enabled, owner_live as org_enabled,
		until as expires_at, kind as hash_alg -- and nothing else
		from credentials where start = $1;`
)

func TestSourceOnOurTables(t *testing.T) {
	authtest.TestSource(t, func(t *testing.T) authtest.SourceFixture {
		db, path := ownTables(t)
		authtest.Exec(t, db, "pragma ignore_check_constraints = on")
		db.SetMaxOpenConns(1) // the pragma is the connection's
		source := open(t, sqlitesource.Config{Path: path})
		return authtest.SourceFixture{
			Source: source, Directory: source, Close: source.Close, Unreachable: unreachable(t),
			Put: func(tb testing.TB, prefix string, key auth.Key) {
				authtest.Exec(tb, db, `insert into organizations (id, name, enabled) values ($1, $1, $2)
					on conflict (id) do update set enabled = excluded.enabled`, key.OrgID, key.OrgEnabled)
				authtest.Exec(tb, db, `insert into api_keys (org_id, prefix, key_hash, hash_alg, enabled, expires_at)
					values ($1, $2, $3, $4, $5, $6)`,
					key.OrgID, prefix, key.Hash[:], key.Alg.String(), key.Enabled, expiry(key))
			},
			Delete: func(tb testing.TB, prefix string) {
				authtest.Exec(tb, db, "delete from api_keys where prefix = $1", prefix)
			},
		}
	})
}

func TestSourceOnAForeignTable(t *testing.T) {
	authtest.TestSource(t, func(t *testing.T) authtest.SourceFixture {
		path := filepath.Join(t.TempDir(), "app.db")
		db := dial(t, path)
		authtest.Exec(t, db, foreignTable)
		source := open(t, sqlitesource.Config{Path: path, KeyQuery: foreignQuery})
		return authtest.SourceFixture{
			Source: source, Close: source.Close, Unreachable: unreachable(t), Many: true,
			Put: func(tb testing.TB, prefix string, key auth.Key) {
				authtest.Exec(tb, db, "insert into credentials values ($1, $2, hex($3), $4, $5, $6, $7)",
					prefix, key.OrgID, key.Hash[:], key.Enabled, key.OrgEnabled, expiry(key), key.Alg.String())
			},
			Delete: func(tb testing.TB, prefix string) {
				authtest.Exec(tb, db, "delete from credentials where start = $1", prefix)
			},
		}
	})
}

func TestFollower(t *testing.T) {
	authtest.TestLog(t, func(t *testing.T) authtest.LogFixture {
		db, path := ownTables(t)
		source := open(t, sqlitesource.Config{Path: path})
		return authtest.LogFixture{DB: db, Follow: func(testing.TB) auth.Changes { return source.Follower() }}
	})
}

func TestTimesAreUnderstoodAsSQLiteWritesThem(t *testing.T) {
	db, path := ownTables(t)
	authtest.Exec(t, db, "create table foreign_keys_of_others (until text)")
	authtest.SeedKeys(t, db, "o", "zap_live_a")
	own := open(t, sqlitesource.Config{Path: path})
	query := strings.Replace(keyquery.Own, "k.expires_at", "(select until from foreign_keys_of_others) as expires_at", 1)
	computed := open(t, sqlitesource.Config{Path: path, KeyQuery: query})
	want := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2030-01-02T03:04:05Z": want, "2030-01-02T03:04:05.000Z": want, "2030-01-02 03:04:05": want,
		"2030-01-02 03:04:05.000": want, "2030-01-02 04:04:05+01:00": want, "2030-01-02T04:04:05+01:00": want,
		"2030-01-02": time.Date(2030, 1, 2, 0, 0, 0, 0, time.UTC),
	} {
		authtest.Exec(t, db, "update api_keys set expires_at = $1", text)
		authtest.Exec(t, db, "delete from foreign_keys_of_others")
		authtest.Exec(t, db, "insert into foreign_keys_of_others values ($1)", text)
		for name, source := range map[string]*sqlitesource.Source{"own": own, "computed": computed} {
			keys, err := source.Lookup(t.Context(), "zap_live_a")
			if err != nil || len(keys) != 1 || !keys[0].ExpiresAt.Equal(want) {
				t.Errorf("%s: %s: got %+v, %v", name, text, keys, err)
			}
		}
	}
	authtest.Exec(t, db, "update api_keys set expires_at = 'tomorrow'")
	if keys, err := own.Lookup(t.Context(), "zap_live_a"); !errors.Is(err, keyquery.ErrRow) {
		t.Errorf("got %+v, %v", keys, err)
	}
}

func TestUnusableQueriesAreRefusedWithASentence(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	authtest.Exec(t, dial(t, path), foreignTable)
	for query, want := range map[string]string{
		"select owner as org_id from credentials where start = $1":                                              "no column key_hash",
		"select *, owner as org_id from credentials where start = $1":                                           `a column "start"`,
		"select owner as org_id, digest as key_hash from credentials":                                           "one parameter",
		"select owner as org_id, digest as key_hash from credentials where start = $1 and kind = $2":            "argument",
		"select owner as org_id, digest as key_hash from credential where start = $1":                           "no such table",
		"delete from credentials where start = $1 returning owner as org_id, digest as key_hash":                "syntax error",
		"select owner as org_id, digest as key_hash from credentials where start = $1; delete from credentials": "syntax error",
	} {
		source := sqlitesource.New(sqlitesource.Config{Path: path, KeyQuery: query, Logger: slog.New(slog.DiscardHandler)})
		if err := source.Open(t.Context()); !errors.Is(err, keyquery.Err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", query, err, want)
		}
		source.Close()
	}
}

func TestAFileThatIsMadeLaterIsReadThen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keygate.db")
	source := sqlitesource.New(sqlitesource.Config{Path: path, Logger: slog.New(slog.DiscardHandler)})
	defer source.Close()
	if err := source.Open(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
	l := authtest.Listen(t, source.Follower())
	db := dial(t, path)
	if err := source.Open(t.Context()); !errors.Is(err, keyquery.Err) || !strings.Contains(err.Error(), "proxy migrate up") {
		t.Errorf("no tables: got %v", err)
	}
	migrate(t, db)
	authtest.SeedKeys(t, db, "o", "zap_live_a")
	if keys, err := source.Lookup(t.Context(), "zap_live_a"); err != nil || len(keys) != 1 {
		t.Errorf("got %v, %v", keys, err)
	}
	l.Await(t, 0, auth.Demote, "")
	l.Await(t, 0, auth.Remove, "zap_live_a")
}

func TestRowsThatReplaceRemovesAreHeard(t *testing.T) {
	db, path := ownTables(t)
	l := authtest.Listen(t, open(t, sqlitesource.Config{Path: path}).Follower())
	l.Await(t, 0, auth.Demote, "")
	for statement, want := range map[string]string{
		"insert or replace into api_keys (id, org_id, prefix, key_hash) values ('1', 'o', 'zap_live_c', zeroblob(32))": "zap_live_a",
		"insert or replace into api_keys (id, org_id, prefix, key_hash) values ('3', 'o', 'zap_live_a', zeroblob(32))": "zap_live_a",
		"update or replace api_keys set id = '1' where id = '2'":                                                       "zap_live_a",
		"insert or replace into organizations (id, name, enabled) values ('o', 'O', 0)":                                "zap_live_b",
	} {
		authtest.Exec(t, db, "delete from api_keys")
		authtest.Exec(t, db, "insert or replace into organizations (id, name) values ('o', 'O')")
		authtest.Exec(t, db, `insert into api_keys (id, org_id, prefix, key_hash)
			values ('1', 'o', 'zap_live_a', zeroblob(32)), ('2', 'o', 'zap_live_b', zeroblob(32))`)
		mark := authtest.Settle(t, db, l)
		authtest.Exec(t, db, statement)
		l.Await(t, mark, auth.Remove, want)
	}
}

func TestALogThatWentBackOrWasPrunedIsInDoubt(t *testing.T) {
	db, path := ownTables(t)
	authtest.SeedKeys(t, db, "o", "zap_live_a", "zap_live_b")
	follower := open(t, sqlitesource.Config{Path: path}).Follower()
	l, stop := authtest.ListenUntil(t, follower)
	l.Await(t, 0, auth.Demote, "")
	mark := authtest.Settle(t, db, l)
	together := func(statements ...string) {
		t.Helper()
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range statements {
			authtest.Exec(t, tx, statement)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	together("delete from keygate_changes where id > 1",
		"update sqlite_sequence set seq = 1 where name = 'keygate_changes'",
		"update api_keys set enabled = 0 where prefix = 'zap_live_b'")
	l.Await(t, mark, auth.Demote, "")
	l.Await(t, mark, auth.Remove, "zap_live_b")
	mark = authtest.Settle(t, db, l)

	together("update api_keys set enabled = 1 where prefix = 'zap_live_a'",
		"update api_keys set enabled = 1 where prefix = 'zap_live_b'",
		"delete from keygate_changes where id < (select max(id) from keygate_changes)")
	l.Await(t, mark, auth.Demote, "")
	l.Await(t, mark, auth.Remove, "zap_live_b")
	stop()
}

func TestABackgroundOfEventsIsSilent(t *testing.T) {
	db, path := ownTables(t)
	authtest.Exec(t, db, "create table noise (x)")
	l := authtest.Listen(t, open(t, sqlitesource.Config{Path: path}).Follower())
	l.Await(t, 0, auth.Demote, "")
	mark := authtest.Settle(t, db, l)
	for range 200 {
		authtest.Exec(t, db, "insert into noise values (1)")
	}
	if heard := l.Since(mark); len(heard) != 0 {
		t.Errorf("heard %v", heard)
	}
	authtest.Settle(t, db, l)
}

func open(tb testing.TB, c sqlitesource.Config) *sqlitesource.Source {
	tb.Helper()
	c.Logger, c.Metrics = slog.New(slog.DiscardHandler), sqlitesource.NewMetrics(prometheus.NewRegistry())
	source := sqlitesource.New(c)
	tb.Cleanup(source.Close)
	if err := source.Open(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return source
}

func unreachable(tb testing.TB) *sqlitesource.Source {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "missing.db")
	source := sqlitesource.New(sqlitesource.Config{Path: path, Logger: slog.New(slog.DiscardHandler)})
	tb.Cleanup(source.Close)
	return source
}

func ownTables(tb testing.TB) (*database.DB, string) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "keygate.db")
	db := dial(tb, path)
	migrate(tb, db)
	return db, path
}

func migrate(tb testing.TB, db *database.DB) {
	tb.Helper()
	if _, err := migrations.Up(tb.Context(), db, migrations.Changelog, migrations.Auth); err != nil {
		tb.Fatal(err)
	}
}

func dial(tb testing.TB, path string) *database.DB {
	tb.Helper()
	db, err := database.OpenSQLite(tb.Context(), path, database.SQLiteOptions{})
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

func expiry(key auth.Key) any {
	if key.ExpiresAt.IsZero() {
		return nil
	}
	return key.ExpiresAt.UTC().Format("2006-01-02T15:04:05.000Z07:00")
}
