package authtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"slices"
	"testing"
	"time"

	"keygate/proxy/auth"
	"keygate/shared/database"
)

// LogFixture is a database with keygate's own tables and change log, and followers of it.
type LogFixture struct {
	DB *database.DB
	// Follow returns a follower that has not run yet.
	Follow func(testing.TB) auth.Changes
	// Cut breaks the connections of running followers; nil where nothing can break.
	Cut func(testing.TB)
}

// TestLog tests an auth.Changes that follows the change log of a source. Each part opens a database of its own.
func TestLog(t *testing.T, open func(*testing.T) LogFixture) {
	for _, part := range []struct {
		name string
		test func(*testing.T, LogFixture)
	}{
		{"the first delivery is a demotion of all", demotesFirst},
		{"each change of a key removes its prefix", keyChanges},
		{"a changed prefix removes the old and the new one", prefixChanges},
		{"suspending an organisation removes its prefixes", organizationChanges},
		{"deleting every key removes them all", deletesAll},
		{"what is rolled back is not heard", rollbackIsSilent},
		{"what one transaction changes is heard when it commits", commitsTogether},
		{"many changes of one statement are all heard", bulk},
		{"changes made while nobody listened are heard on starting", startsLate},
		{"changes made between two runs are heard", runsAgain},
		{"old rows are pruned and what is new is heard", prunes},
		{"nothing is missed across lost connections", reconnects},
		{"nothing is missed under load", load},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, open(t)) })
	}
}

// SeedKeys creates an organisation with a key for each prefix.
func SeedKeys(tb testing.TB, db *database.DB, orgID string, prefixes ...string) {
	tb.Helper()
	Exec(tb, db, "insert into organizations (id, name) values ($1, $1) on conflict do nothing", orgID)
	for _, prefix := range prefixes {
		Exec(tb, db, "insert into api_keys (org_id, prefix, key_hash) values ($1, $2, $3)", orgID, prefix, make([]byte, 32))
	}
}

// Exec runs a statement, in a database or a transaction.
func Exec(tb testing.TB, db interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}, query string, args ...any) {
	tb.Helper()
	if _, err := db.ExecContext(tb.Context(), query, args...); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
}

// Settle waits until a follower that listens has read everything committed so far, and returns the mark after it.
func Settle(tb testing.TB, db *database.DB, l *Listener) int {
	tb.Helper()
	mark, marker := l.Mark(), "marker_"+rand.Text()
	SeedKeys(tb, db, "settle", marker)
	l.Await(tb, mark, auth.Remove, marker)
	return l.Mark()
}

func follow(t *testing.T, f LogFixture) *Listener {
	t.Helper()
	l := Listen(t, f.Follow(t))
	l.Await(t, 0, auth.Demote, "")
	return l
}

func demotesFirst(t *testing.T, f LogFixture) {
	SeedKeys(t, f.DB, "o", "zap_live_a")
	l := follow(t, f)
	if first := l.Since(0)[0]; first.Verb != auth.Demote || !first.All {
		t.Errorf("heard %s", l)
	}
}

func keyChanges(t *testing.T, f LogFixture) {
	SeedKeys(t, f.DB, "o", "zap_live_a", "zap_live_b")
	l := follow(t, f)
	for _, statement := range []string{
		"insert into api_keys (org_id, prefix, key_hash) select 'o', 'zap_live_c', key_hash from api_keys limit 1",
		"update api_keys set enabled = false where prefix = 'zap_live_c'",
		"update api_keys set revoked_at = current_timestamp where prefix = 'zap_live_c'",
		"update api_keys set expires_at = current_timestamp where prefix = 'zap_live_c'",
		"update api_keys set hash_alg = 'hmac-sha256' where prefix = 'zap_live_c'",
		"delete from api_keys where prefix = 'zap_live_c'",
	} {
		mark := Settle(t, f.DB, l)
		Exec(t, f.DB, statement)
		l.Await(t, mark, auth.Remove, "zap_live_c")
		heard := l.Since(mark)
		if len(heard) != 1 || heard[0].All || !slices.Equal(heard[0].Prefixes, []string{"zap_live_c"}) {
			t.Errorf("%s: heard %v", statement, heard)
		}
	}
}

func prefixChanges(t *testing.T, f LogFixture) {
	SeedKeys(t, f.DB, "o", "zap_live_old")
	l := follow(t, f)
	mark := Settle(t, f.DB, l)
	Exec(t, f.DB, "update api_keys set prefix = 'zap_live_new' where prefix = 'zap_live_old'")
	l.Await(t, mark, auth.Remove, "zap_live_old")
	l.Await(t, mark, auth.Remove, "zap_live_new")
}

func organizationChanges(t *testing.T, f LogFixture) {
	SeedKeys(t, f.DB, "o", "zap_live_a", "zap_live_b")
	SeedKeys(t, f.DB, "p", "zap_live_c")
	l := follow(t, f)
	for _, enabled := range []bool{false, true} {
		mark := Settle(t, f.DB, l)
		Exec(t, f.DB, "update organizations set enabled = $1 where id = 'o'", enabled)
		l.Await(t, mark, auth.Remove, "zap_live_a")
		l.Await(t, mark, auth.Remove, "zap_live_b")
		expectSilence(t, l, mark, "zap_live_c")
	}
	mark := Settle(t, f.DB, l)
	Exec(t, f.DB, "update organizations set name = 'Other' where id = 'o'")
	Settle(t, f.DB, l)
	expectSilence(t, l, mark, "zap_live_a")
}

func deletesAll(t *testing.T, f LogFixture) {
	SeedKeys(t, f.DB, "o", "zap_live_a", "zap_live_b")
	l := follow(t, f)
	mark := Settle(t, f.DB, l)
	if f.DB.Dialect == database.Postgres {
		Exec(t, f.DB, "truncate api_keys")
		l.Await(t, mark, auth.Remove, "")
		mark = Settle(t, f.DB, l)
		Exec(t, f.DB, "truncate organizations cascade")
		l.Await(t, mark, auth.Remove, "")
		return
	}
	Exec(t, f.DB, "delete from api_keys")
	l.Await(t, mark, auth.Remove, "zap_live_a")
	l.Await(t, mark, auth.Remove, "zap_live_b")
}

func rollbackIsSilent(t *testing.T, f LogFixture) {
	SeedKeys(t, f.DB, "o", "zap_live_a")
	l := follow(t, f)
	mark := Settle(t, f.DB, l)
	tx := begin(t, f.DB)
	Exec(t, tx, "update api_keys set enabled = false where prefix = 'zap_live_a'")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	Settle(t, f.DB, l)
	expectSilence(t, l, mark, "zap_live_a")
}

func commitsTogether(t *testing.T, f LogFixture) {
	SeedKeys(t, f.DB, "o", "zap_live_a", "zap_live_b")
	l := follow(t, f)
	mark := Settle(t, f.DB, l)
	tx := begin(t, f.DB)
	Exec(t, tx, "update api_keys set enabled = false where prefix = 'zap_live_a'")
	Exec(t, tx, "update api_keys set enabled = false where prefix = 'zap_live_b'")
	if heard := l.Since(mark); len(heard) != 0 {
		t.Errorf("before the commit: heard %v", heard)
	}
	commit(t, tx)
	l.Await(t, mark, auth.Remove, "zap_live_a")
	l.Await(t, mark, auth.Remove, "zap_live_b")
}

func bulk(t *testing.T, f LogFixture) {
	const keys = 1200
	Exec(t, f.DB, "insert into organizations (id, name) values ('o', 'O'), ('p', 'P')")
	l := follow(t, f)
	mark := Settle(t, f.DB, l)
	Exec(t, f.DB, `insert into api_keys (org_id, prefix, key_hash) select 'o', 'zap_live_' || n, $1
		from (with recursive s (n) as (select 1 union all select n + 1 from s where n < 1200) select n from s) s`,
		make([]byte, 32))
	awaitAll(t, l, mark, keys)
	mark = Settle(t, f.DB, l)
	Exec(t, f.DB, "update api_keys set enabled = false where org_id = 'o'")
	awaitAll(t, l, mark, keys)
	mark = Settle(t, f.DB, l)
	Exec(t, f.DB, "update organizations set enabled = false where id = 'o'")
	awaitAll(t, l, mark, keys)
}

// awaitAll waits until each prefix from zap_live_1 on was removed, or all were.
func awaitAll(t *testing.T, l *Listener, mark, prefixes int) {
	t.Helper()
	removed := map[string]bool{}
	awaitUntil(t, l, "the removal of every prefix", func() bool {
		heard := l.Since(mark)
		mark += len(heard)
		for _, c := range heard {
			if c.Verb == auth.Remove && c.All {
				return true
			}
			for _, prefix := range c.Prefixes {
				removed[prefix] = true
			}
		}
		return len(removed) == prefixes
	})
}

// awaitUntil waits for a condition that only something heard can make true.
func awaitUntil(tb testing.TB, l *Listener, what string, holds func() bool) {
	tb.Helper()
	deadline := time.After(Patience)
	for {
		l.mu.Lock()
		more := l.more
		l.mu.Unlock()
		if holds() {
			return
		}
		select {
		case <-more:
		case <-deadline:
			tb.Fatalf("no %s within %v", what, Patience)
		}
	}
}

func expectSilence(t *testing.T, l *Listener, mark int, prefix string) {
	t.Helper()
	for _, c := range l.Since(mark) {
		if c.All || slices.Contains(c.Prefixes, prefix) {
			t.Errorf("heard %v about %s", c, prefix)
		}
	}
}

func begin(tb testing.TB, db *database.DB) *sql.Tx {
	tb.Helper()
	tx, err := db.BeginTx(tb.Context(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return tx
}

func commit(tb testing.TB, tx *sql.Tx) {
	tb.Helper()
	if err := tx.Commit(); err != nil {
		tb.Fatal(err)
	}
}
