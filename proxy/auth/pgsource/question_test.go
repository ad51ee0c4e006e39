package pgsource_test

import (
	"context"
	"strconv"
	"sync"
	"testing"

	"keygate/proxy/auth/authtest"
	"keygate/proxy/auth/pgsource"
	"keygate/shared/database"
	"keygate/tests/servers"
)

// customers makes a table with prefixes sk_0 to sk_39. Whoever looks for one of them in the database is told the beginning
// of their transaction for an organisation, sk_slow waits for a lock, and sk_bad cannot be looked for.
func customers(t *testing.T) (db *database.DB, url, query string) {
	t.Helper()
	url = servers.Postgres(t).Database(t)
	db = dial(t, url)
	authtest.Exec(t, db, "create table customers (prefix text, hash bytea)")
	authtest.Exec(t, db, `insert into customers select 'sk_' || name, decode(repeat('00', 32), 'hex')
		from (select generate_series(0, 39)::text name union select 'slow' union select 'bad') all_of_them`)
	return db, url, `select hash as key_hash, case prefix
			when 'sk_slow' then pg_advisory_xact_lock_shared(7)::text
			when 'sk_bad' then (1 / (length(prefix) - 6))::text
			else '' end || extract(epoch from now()) as org_id
		from customers where prefix = $1`
}

// hold keeps sk_slow waiting until release, and returns how many wait.
func hold(t *testing.T, db *database.DB) (waiting func() int, release func()) {
	t.Helper()
	tx := begin(t, db)
	authtest.Exec(t, tx, "select pg_advisory_xact_lock(7)")
	waiting = func() (n int) {
		const question = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
		if err := db.QueryRowContext(t.Context(), question).Scan(&n); err != nil {
			t.Error(err)
		}
		return n
	}
	return waiting, func() { commit(t, tx) }
}

// together has sk_slow asked for, and then all prefixes at once, which must wait for it: there is one connection.
func together(t *testing.T, prefixes []string) (orgs map[string]string, failed map[string]error) {
	t.Helper()
	db, url, query := customers(t)
	source := open(t, pgsource.Config{URL: url, KeyQuery: query, Concurrency: 1})
	waiting, release := hold(t, db)
	ctx, cancel := context.WithTimeout(t.Context(), authtest.Patience)
	defer cancel()
	orgs, failed = make(map[string]string), make(map[string]error)
	var mu sync.Mutex
	var all sync.WaitGroup
	ask := func(prefix string) {
		keys, err := source.Lookup(ctx, prefix)
		mu.Lock()
		defer mu.Unlock()
		if failed[prefix] = err; len(keys) > 0 {
			orgs[prefix] = keys[0].OrgID
		}
	}
	all.Go(func() { ask("sk_slow") })
	authtest.Eventually(t, "a look-up that waits", func() bool { return waiting() == 1 })
	for _, prefix := range prefixes {
		all.Go(func() { ask(prefix) })
	}
	authtest.Eventually(t, "the others", func() bool { return source.Waiting() == len(prefixes) })
	release()
	all.Wait()
	return orgs, failed
}

func numbered(n int) (prefixes []string) {
	for i := range n {
		prefixes = append(prefixes, "sk_"+strconv.Itoa(i))
	}
	return prefixes
}

func TestLookUpsThatComeTogetherShareARoundTrip(t *testing.T) {
	orgs, failed := together(t, append(numbered(20), "sk_nobody"))
	transactions := make(map[string]bool)
	for _, prefix := range numbered(20) {
		transactions[orgs[prefix]] = true
		if failed[prefix] != nil {
			t.Errorf("%s: %v", prefix, failed[prefix])
		}
	}
	if len(transactions) != 1 {
		t.Errorf("20 look-ups made %d transactions", len(transactions))
	}
	if org := orgs["sk_nobody"]; org != "" || failed["sk_nobody"] != nil {
		t.Errorf("a prefix that does not exist: %q, %v", org, failed["sk_nobody"])
	}
}

func TestALookUpThatFailsHarmsNoneThatCameWithIt(t *testing.T) {
	orgs, failed := together(t, append([]string{"sk_bad"}, numbered(20)...))
	for _, prefix := range numbered(20) {
		if orgs[prefix] == "" || failed[prefix] != nil {
			t.Errorf("%s: %q, %v", prefix, orgs[prefix], failed[prefix])
		}
	}
	if failed["sk_bad"] == nil {
		t.Error("what cannot be looked for does not exist")
	}
}

func TestASlowLookUpHoldsUpNoOther(t *testing.T) {
	db, url, query := customers(t)
	source := open(t, pgsource.Config{URL: url, KeyQuery: query, Concurrency: 3})
	waiting, release := hold(t, db)
	ctx, cancel := context.WithTimeout(t.Context(), authtest.Patience)
	defer cancel()
	var slow sync.WaitGroup
	for range 2 {
		slow.Go(func() {
			if keys, err := source.Lookup(ctx, "sk_slow"); err != nil || len(keys) != 1 {
				t.Errorf("a slow one: %d keys, %v", len(keys), err)
			}
		})
		authtest.Eventually(t, "a look-up that waits", func() bool { return waiting() > 0 })
	}
	authtest.Eventually(t, "two that wait", func() bool { return waiting() == 2 })
	if keys, err := source.Lookup(ctx, "sk_1"); err != nil || len(keys) != 1 {
		t.Errorf("a quick one: %d keys, %v", len(keys), err)
	}
	release()
	slow.Wait()
}

// After a restart or a fail-over, connections that were made before are there to be tried.
func TestAConnectionThatTheServerHasEndedCostsNoAnswer(t *testing.T) {
	db, url := ownTables(t)
	authtest.SeedKeys(t, db, "o", "zap_live_a")
	source := open(t, pgsource.Config{URL: withParameter(url, "application_name", "lookups")})
	for range 5 {
		authtest.Eventually(t, "pool that makes no connections", func() bool {
			pool := source.Pool()
			return pool.Idle >= 2 && pool.Idle == pool.Total
		})
		authtest.Exec(t, db, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'lookups'")
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if keys, err := source.Lookup(t.Context(), "zap_live_a"); err != nil || len(keys) != 1 {
					t.Errorf("%d keys, %v", len(keys), err)
				}
			})
		}
		all.Wait()
	}
}
