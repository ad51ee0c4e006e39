package pgsource_test

import (
	"database/sql"
	"testing"

	"keygate/migrations"
	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/proxy/auth/pgsource"
	"keygate/tests/servers"
)

func TestOneStatementOverAThousandRowsIsOneRowOfTheLog(t *testing.T) {
	db, _ := ownTables(t)
	authtest.Exec(t, db, "insert into organizations (id, name) select 'o' || n, 'O' from generate_series(1, 1200) n")
	insert := `insert into api_keys (org_id, prefix, key_hash)
		select 'o' || n, 'zap_live_' || n, decode(repeat('00', 32), 'hex') from generate_series($1::int, $2) n`
	logs := func(want int, query string, args ...any) {
		t.Helper()
		authtest.Exec(t, db, "truncate keygate_changes")
		authtest.Exec(t, db, query, args...)
		var rows int
		if err := db.QueryRow("select count(*) from keygate_changes").Scan(&rows); err != nil || rows != want {
			t.Errorf("%s %v: %d rows, %v, want %d", query, args, rows, err, want)
		}
	}
	logs(1000, insert, 1, 1000)
	logs(200, insert, 1001, 1200)
	logs(1, "update api_keys set enabled = false")
	logs(0, "update api_keys set enabled = false")
	logs(0, "update api_keys set enabled = true where prefix = 'nobody'")
	logs(1000, "update api_keys set enabled = true where substr(prefix, 10)::int <= 1000")
	logs(1000, "update organizations set enabled = false where substr(id, 2)::int <= 1000")
	logs(1, "update organizations set enabled = not enabled")
	logs(1, "delete from api_keys")
	logs(0, "delete from api_keys")
	logs(1, "truncate api_keys")
}

func TestATableIsWatchedOnlyIfItsColumnsExist(t *testing.T) {
	url := existingAPI(t)
	db := dial(t, url)
	if _, err := migrations.Up(t.Context(), db, migrations.Changelog); err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{
		"select keygate_watch('organizations', 'prefix')",
		"select keygate_watch('organizations', 'api_key_prefix', 'enabled')",
		"select keygate_watch('organizations', null)",
		"select keygate_watch('nowhere', 'prefix')",
	} {
		if _, err := db.Exec(call); err == nil {
			t.Errorf("%s succeeded", call)
		}
	}
	authtest.Exec(t, db, "select keygate_watch('organizations', 'api_key_prefix')")
	authtest.Exec(t, db, "select keygate_watch('organizations', 'api_key_prefix', 'active')")
	if _, err := migrations.Down(t.Context(), db, migrations.Changelog); err == nil {
		t.Error("the log went away under the triggers of a table")
	}
	authtest.Exec(t, db, "select keygate_unwatch('organizations')")
	if _, err := migrations.Down(t.Context(), db, migrations.Changelog); err != nil {
		t.Error(err)
	}
}

// The role of another program need not know of the log.
func TestAnyoneWhoMayChangeAWatchedTableIsLogged(t *testing.T) {
	db, _ := ownTables(t)
	authtest.SeedKeys(t, db, "o", "zap_live_a")
	authtest.Exec(t, db, "truncate keygate_changes")
	const role = "clerk_of_keys"
	authtest.Exec(t, db, "create role "+role)
	t.Cleanup(func() {
		if _, err := db.Exec("drop owned by " + role + "; drop role " + role); err != nil {
			t.Error(err)
		}
	})
	authtest.Exec(t, db, "grant select, update on api_keys, organizations to "+role)
	for _, isolation := range []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable} {
		tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: isolation})
		if err != nil {
			t.Fatal(err)
		}
		authtest.Exec(t, tx, "set local role "+role)
		authtest.Exec(t, tx, "set local search_path = pg_temp")
		authtest.Exec(t, tx, "update public.api_keys set enabled = not enabled")
		authtest.Exec(t, tx, "update public.organizations set enabled = not enabled")
		authtest.Exec(t, tx, "select public.keygate_log(array['zap_live_b', null])")
		commit(t, tx)
	}
	var rows int
	if err := db.QueryRow("select count(*) from keygate_changes").Scan(&rows); err != nil || rows != 9 {
		t.Errorf("got %d rows, %v, want 9", rows, err)
	}
}

func TestARevocationDoesNotWaitForAnImport(t *testing.T) {
	db, url := ownTables(t)
	authtest.SeedKeys(t, db, "o", "zap_live_a", "zap_live_b")
	authtest.Exec(t, db, "update keygate_changes set changed_at = changed_at - interval '2 hours'")
	l := authtest.Listen(t, open(t, pgsource.Config{URL: url}).Follower())
	l.Await(t, 0, auth.Demote, "")
	importing := begin(t, db)
	defer importing.Rollback()
	authtest.Exec(t, importing, "update api_keys set enabled = false where prefix = 'zap_live_a'") // prunes, too
	authtest.Exec(t, db, "set lock_timeout = '2s'; update api_keys set enabled = false where prefix = 'zap_live_b'")
	l.Await(t, 0, auth.Remove, "zap_live_b")
}

// Its row is old when it becomes visible, and must stay until every follower can have seen it.
func TestARowOfALongTransactionIsNotPrunedAsItCommits(t *testing.T) {
	// A server to itself: nothing is pruned that a transaction of another test, in whatever database, might be too old for.
	db, _ := tablesOn(t, servers.StartPostgres(t))
	authtest.SeedKeys(t, db, "o", "zap_live_long", "zap_live_b", "zap_live_c")
	const age = `update keygate_changes set changed_at = now() - interval '2 hours'
		where changed_at > now() - interval '1 hour'`
	authtest.Exec(t, db, age)
	long := begin(t, db)
	authtest.Exec(t, long, "update api_keys set enabled = false where prefix = 'zap_live_long'")
	authtest.Exec(t, db, "update api_keys set enabled = false where prefix = 'zap_live_b'")
	authtest.Exec(t, db, age)
	authtest.Exec(t, long, age)
	const newest = "select max(id) from keygate_changes where prefix = 'zap_live_long'"
	var id, left, rows int
	if err := long.QueryRow(newest).Scan(&id); err != nil {
		t.Fatal(err)
	}
	commit(t, long)
	// The row of its creation goes.
	authtest.Eventually(t, "end of the old row", func() bool {
		authtest.Exec(t, db, "update api_keys set enabled = not enabled where prefix = 'zap_live_c'")
		err := db.QueryRow("select count(*), max(id) from keygate_changes where prefix = 'zap_live_long'").Scan(&rows, &left)
		return err != nil || rows < 2
	})
	if rows != 1 || left != id {
		t.Errorf("%d rows of it are left, the newest is %d and should be %d", rows, left, id)
	}
}

func TestPruningFailsNobodysTransaction(t *testing.T) {
	db, _ := ownTables(t)
	authtest.SeedKeys(t, db, "o", "zap_live_a", "zap_live_b")
	authtest.Exec(t, db, "update keygate_changes set changed_at = changed_at - interval '2 hours'")
	for _, isolation := range []sql.IsolationLevel{sql.LevelRepeatableRead, sql.LevelSerializable} {
		tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: isolation})
		if err != nil {
			t.Fatal(err)
		}
		authtest.Exec(t, tx, "select 1 from keygate_changes")
		authtest.Exec(t, db, "update api_keys set enabled = not enabled where prefix = 'zap_live_a'") // prunes
		authtest.Exec(t, tx, "update api_keys set enabled = not enabled where prefix = 'zap_live_b'")
		commit(t, tx)
	}
}
