package pgsource_test

import (
	"context"
	"database/sql"
	"slices"
	"sync"
	"testing"
	"time"

	"keygate/migrations"
	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/proxy/auth/pgsource"
	"keygate/shared/database"
	"keygate/tests/link"
	"keygate/tests/servers"
)

func TestFollower(t *testing.T) {
	// To itself: nothing is pruned that a transaction of another test, in whatever database, may still have to see.
	server := servers.StartPostgres(t)
	authtest.TestLog(t, func(t *testing.T) authtest.LogFixture {
		db, url := tablesOn(t, server)
		source := open(t, pgsource.Config{URL: url})
		return authtest.LogFixture{
			DB:     db,
			Follow: func(testing.TB) auth.Changes { return source.Follower() },
			Cut: func(tb testing.TB) {
				authtest.Exec(tb, db, `select pg_terminate_backend(pid) from pg_stat_activity
					where datname = current_database() and pid <> pg_backend_pid()
					and application_name = 'keygate-changelog'`)
			},
		}
	})
}

// The ids of the log are given in the order of statements and become visible in the order of commits.
func TestALateCommitIsHeardWhenItCommits(t *testing.T) {
	db, url := ownTables(t)
	authtest.SeedKeys(t, db, "o", "zap_live_late", "zap_live_later", "zap_live_soon")
	source := open(t, pgsource.Config{URL: url})
	l := authtest.Listen(t, source.Follower())
	l.Await(t, 0, auth.Demote, "")
	mark := authtest.Settle(t, db, l)

	late, later := begin(t, db), begin(t, db)
	authtest.Exec(t, late, "update api_keys set enabled = false where prefix = 'zap_live_late'")
	authtest.Exec(t, later, "update api_keys set enabled = false where prefix = 'zap_live_later'")
	// Others commit before them, with higher ids and higher transaction ids, and are not kept waiting.
	for range 3 {
		mark := authtest.Settle(t, db, l)
		authtest.Exec(t, db, "update api_keys set enabled = not enabled where prefix = 'zap_live_soon'")
		l.Await(t, mark, auth.Remove, "zap_live_soon")
	}
	silent(t, l, mark, "zap_live_late", "zap_live_later")

	mark = authtest.Settle(t, db, l)
	commit(t, later)
	l.Await(t, mark, auth.Remove, "zap_live_later")
	silent(t, l, mark, "zap_live_late")
	mark = authtest.Settle(t, db, l)
	commit(t, late)
	l.Await(t, mark, auth.Remove, "zap_live_late")
	mark = authtest.Settle(t, db, l)
	authtest.Settle(t, db, l)
	silent(t, l, mark, "zap_live_late", "zap_live_later", "zap_live_soon")
}

func TestALateCommitIsHeardAcrossALostConnection(t *testing.T) {
	db, url := ownTables(t)
	authtest.SeedKeys(t, db, "o", "zap_live_late")
	authtest.Exec(t, db, "update keygate_changes set changed_at = changed_at - interval '10 minutes'")
	follower := open(t, pgsource.Config{URL: url}).Follower()
	l, stop := authtest.ListenUntil(t, follower)
	l.Await(t, 0, auth.Demote, "")
	late := begin(t, db)
	authtest.Exec(t, late, "update api_keys set enabled = false where prefix = 'zap_live_late'")
	// So that it is not heard for the only reason of being young.
	authtest.Exec(t, late, "update keygate_changes set changed_at = changed_at - interval '10 minutes'")
	authtest.Settle(t, db, l)
	stop()
	commit(t, late)
	again := authtest.Listen(t, follower)
	again.Await(t, 0, auth.Remove, "zap_live_late")
}

// A server that took over, or that crashed with synchronous_commit off, gives ids of lost transactions to new ones.
func TestRowsUnderReusedTransactionIdsAreHeardAfterALostConnection(t *testing.T) {
	db, url := ownTables(t)
	follower := open(t, pgsource.Config{URL: url}).Follower()
	l, stop := authtest.ListenUntil(t, follower)
	l.Await(t, 0, auth.Demote, "")
	authtest.Settle(t, db, l)
	stop()
	authtest.Exec(t, db, "insert into keygate_changes (txid, prefix) values ('3', 'zap_live_a')")
	authtest.Listen(t, follower).Await(t, 0, auth.Remove, "zap_live_a")
}

// Nor does the id of a row say that it was delivered: the server that took over counts on from where it was told to.
func TestRowsUnderReusedIdsAreHeardAfterALostConnection(t *testing.T) {
	db, url := ownTables(t)
	authtest.Exec(t, db, "insert into keygate_changes (txid, prefix) values ('3', 'zap_live_lost')")
	follower := open(t, pgsource.Config{URL: url}).Follower()
	l, stop := authtest.ListenUntil(t, follower)
	l.Await(t, 0, auth.Remove, "zap_live_lost")
	stop()
	authtest.Exec(t, db, "update keygate_changes set changed_at = clock_timestamp(), prefix = 'zap_live_a'")
	authtest.Listen(t, follower).Await(t, 0, auth.Remove, "zap_live_a")
}

func TestANotificationIsFasterThanThePoll(t *testing.T) {
	db, url := ownTables(t)
	authtest.SeedKeys(t, db, "o", "zap_live_a")
	l := authtest.Listen(t, open(t, pgsource.Config{URL: url}).Follower())
	l.Await(t, 0, auth.Demote, "")
	authtest.Settle(t, db, l)
	var took []time.Duration
	for range 9 {
		mark := l.Mark()
		authtest.Exec(t, db, "update api_keys set enabled = not enabled where prefix = 'zap_live_a'")
		committed := time.Now()
		took = append(took, l.Await(t, mark, auth.Remove, "zap_live_a").Sub(committed))
	}
	// By polling alone each would take the second that follows the one before.
	if slices.Sort(took); took[len(took)/2] > 500*time.Millisecond {
		t.Errorf("took %v", took)
	}
}

// Without the organisation in the log, this key would be served until its copies expire: the transaction that suspends
// does not see it, and what a proxy reads before that commits is allowed.
func TestAKeyCreatedWhileItsOrganizationIsSuspendedIsRemoved(t *testing.T) {
	db, url := ownTables(t)
	authtest.SeedKeys(t, db, "o", "zap_live_a")
	l := authtest.Listen(t, open(t, pgsource.Config{URL: url}).Follower())
	l.Await(t, 0, auth.Demote, "")
	suspending := begin(t, db)
	authtest.Exec(t, suspending, "update organizations set enabled = false where id = 'o'")
	authtest.Exec(t, db, `insert into api_keys (org_id, prefix, key_hash)
		select 'o', 'zap_live_b', key_hash from api_keys`)
	l.Await(t, 0, auth.Remove, "zap_live_b")
	mark := authtest.Settle(t, db, l)
	commit(t, suspending)
	l.Await(t, mark, auth.Remove, "zap_live_b")
}

func TestAPastedTriggerMakesAForeignTableHeard(t *testing.T) {
	url := existingAPI(t)
	db := dial(t, url)
	source := open(t, pgsource.Config{URL: url, KeyQuery: existingQuery})
	expectLog := func(want bool) {
		t.Helper()
		if got, err := source.HasChangeLog(t.Context()); err != nil || got != want {
			t.Errorf("has a log: got %v, %v, want %v", got, err, want)
		}
	}
	expectLog(false)
	if _, err := migrations.Up(t.Context(), db, migrations.Changelog); err != nil {
		t.Fatal(err)
	}
	expectLog(true)
	authtest.Exec(t, db, "select keygate_watch('organizations', 'api_key_prefix', 'id', 'api_key_hash', 'active')")
	l := authtest.Listen(t, source.Follower())
	l.Await(t, 0, auth.Demote, "")
	const prefix = "sk_live_000000001"
	for _, statement := range []string{
		"update organizations set active = false where api_key_prefix = '" + prefix + "'",
		"update organizations set api_key_hash = decode(repeat('11', 32), 'hex')",
		"delete from organizations",
		"insert into organizations (id, name, api_key_prefix, api_key_hash) " +
			"values (gen_random_uuid(), 'Two', '" + prefix + "', decode(repeat('22', 32), 'hex'))",
		"insert into organizations (id, name, api_key_prefix, api_key_hash) " +
			"values (gen_random_uuid(), 'Two', '" + prefix + "', decode(repeat('33', 32), 'hex')) " +
			"on conflict (api_key_prefix) do update set api_key_hash = excluded.api_key_hash",
	} {
		mark := l.Mark()
		authtest.Exec(t, db, statement)
		l.Await(t, mark, auth.Remove, prefix)
	}
	mark := l.Mark()
	authtest.Exec(t, db, "update organizations set name = 'Three'")
	authtest.Exec(t, db, "truncate organizations cascade")
	l.Await(t, mark, auth.Remove, "")
	silent(t, l, mark, prefix)
}

func TestALogThatWentBackIsReadFromTheBeginning(t *testing.T) {
	db, url := ownTables(t)
	authtest.SeedKeys(t, db, "o", "zap_live_a")
	follower := open(t, pgsource.Config{URL: url}).Follower()
	pgsource.SetSnapshot(follower, "9000000000:9000000000:")
	authtest.Exec(t, db, "update keygate_changes set changed_at = changed_at - interval '5 minutes'")
	l := authtest.Listen(t, follower)
	l.Await(t, 0, auth.Remove, "zap_live_a")
}

func TestALogThatWasLongUnreadIsInDoubt(t *testing.T) {
	db, url := ownTables(t)
	follower := open(t, pgsource.Config{URL: url}).Follower()
	slept := sync.OnceFunc(func() { pgsource.Sleep(follower, 31*time.Minute) })
	l := authtest.Listen(t, changesFunc(func(ctx context.Context, deliver func(auth.Change)) error {
		return follower.Run(ctx, func(c auth.Change) {
			if c.Verb == auth.Remove {
				slept()
			}
			deliver(c)
		})
	}))
	l.Await(t, 0, auth.Demote, "")
	mark := authtest.Settle(t, db, l)
	l.Await(t, mark, auth.Demote, "")
}

func TestAHalfOpenLinkIsNoticedAndNothingIsMissed(t *testing.T) {
	t.Parallel()
	db, url := ownTables(t)
	authtest.SeedKeys(t, db, "o", "zap_live_a")
	l, linked := link.StartTo(t, url, nil)
	source := open(t, pgsource.Config{URL: url, ListenURL: linked})
	follower := source.Follower()
	listener := authtest.Listen(t, follower)
	listener.Await(t, 0, auth.Demote, "")
	mark := authtest.Settle(t, db, listener)
	l.Set(link.Holds)
	authtest.Exec(t, db, "update api_keys set enabled = false where prefix = 'zap_live_a'")
	authtest.Eventually(t, "notice", func() bool { return !follower.Connected() })
	l.Set(link.Passes)
	listener.Await(t, mark, auth.Demote, "")
	listener.Await(t, mark, auth.Remove, "zap_live_a")
}

func TestListeningIsProvedThroughTheOtherURL(t *testing.T) {
	t.Parallel()
	server := servers.Postgres(t)
	_, url := ownTables(t)
	if err := open(t, pgsource.Config{URL: url}).ProveListening(t.Context()); err != nil {
		t.Error(err)
	}
	other := server.Database(t) // notifications do not cross databases, as they do not cross a pooler
	migrate(t, other)
	source := open(t, pgsource.Config{URL: url, ListenURL: other})
	if err := source.ProveListening(t.Context()); err != pgsource.ErrDeaf {
		t.Errorf("got %v, want ErrDeaf", err)
	}
	// It is followed all the same, by polling.
	l := authtest.Listen(t, source.Follower())
	l.Await(t, 0, auth.Demote, "")
	authtest.Settle(t, dial(t, other), l)
}

type changesFunc func(ctx context.Context, deliver func(auth.Change)) error

func (f changesFunc) Run(ctx context.Context, deliver func(auth.Change)) error {
	return f(ctx, deliver)
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

func silent(tb testing.TB, l *authtest.Listener, mark int, prefixes ...string) {
	tb.Helper()
	for _, c := range l.Since(mark) {
		for _, prefix := range prefixes {
			if c.Verb == auth.Remove && slices.Contains(c.Prefixes, prefix) {
				tb.Errorf("heard of %s again or too early: %v", prefix, c)
			}
		}
	}
}
