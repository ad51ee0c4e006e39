package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"keygate/tests/servers"
)

func TestMigrateUpIsIdempotentAndDownUndoesIt(t *testing.T) {
	t.Parallel()
	f := func(program, databaseURL, table string, chains ...string) {
		t.Helper()
		env := []string{"DATABASE_URL=" + databaseURL}
		migrate := func(args ...string) string {
			t.Helper()
			return run(t, launch{program: program, args: append([]string{"migrate"}, args...), env: env})
		}
		mentions := func(text string, words ...string) {
			t.Helper()
			for _, word := range words {
				if !strings.Contains(text, word) {
					t.Errorf("%s on %s does not say %q:\n%s", program, databaseURL, word, text)
				}
			}
		}
		mentions(migrate("status"), append(chains, "pending")...)
		mentions(migrate("up"), append(chains, "applied")...)
		mentions(migrate("up"), "nothing to apply")
		db := open(t, databaseURL)
		if n := count(t, db, "select count(*) from "+table); n != 0 {
			t.Errorf("%s has %d rows", table, n)
		}
		if status := migrate("status"); strings.Contains(status, "pending") {
			t.Errorf("after up the status is\n%s", status)
		}
		mentions(migrate("down"), append(chains, "undone")...)
		if _, err := db.Exec("select count(*) from " + table); err == nil {
			t.Errorf("after down there still is %s", table)
		}
		mentions(migrate("up"), "applied")
	}
	file := "sqlite:" + filepath.Join(t.TempDir(), "keygate.db")
	for _, databaseURL := range []string{servers.Postgres(t).Database(t), file} {
		f(proxyProgram, databaseURL, "api_keys", "changelog/", "auth/")
		f(writerProgram, databaseURL, "events", "events/")
	}
}

func TestServeOnAnUnmigratedDatabaseNamesTheCommand(t *testing.T) {
	t.Parallel()
	env := []string{"DATABASE_URL=" + servers.Postgres(t).Database(t), "TRUST_SECRET=" + trustSecret}
	for _, program := range []string{proxyProgram, writerProgram} {
		listen := []string{"serve", "--listen", servers.FreeAddr(t), "--admin-listen", servers.FreeAddr(t)}
		line := runFailing(t, launch{program: program, env: env, args: listen})
		if want := program + " migrate up"; !strings.Contains(line, want) {
			t.Errorf("the line does not say %q: %s", want, line)
		}
	}
}

func TestServeSaysInOneLineWhatIsWrongWithItsSettings(t *testing.T) {
	t.Parallel()
	const database = "DATABASE_URL=postgres://keygate@127.0.0.1/keygate"
	f := func(want string, l launch) {
		t.Helper()
		if line := runFailing(t, l); !strings.Contains(line, want) {
			t.Errorf("%q: the line does not name %s: %s", l.args, want, line)
		}
	}
	f("--database-url", launch{program: proxyProgram, args: []string{"serve"}})
	f("--database-url", launch{program: writerProgram, args: []string{"serve", "--trust-network"}})
	f("--trust-network", launch{program: writerProgram, args: []string{"serve"}, env: []string{database}})
	f("--credential", launch{program: proxyProgram, args: []string{"serve", "--credential", "cookie"}, env: []string{database}})
	f("16 bytes", launch{program: proxyProgram, args: []string{"serve"}, env: []string{database, "TRUST_SECRET=short"}})
	f("PROXY_CACHE_TTL", launch{program: proxyProgram, args: []string{"serve"}, env: []string{database, "PROXY_CACHE_TTL=soon"}})
	f("no-such-flag", launch{program: proxyProgram, args: []string{"serve", "--no-such-flag"}, env: []string{database}})
	f("no-such-command", launch{program: writerProgram, args: []string{"no-such-command"}})
}

func TestKeysAreCreatedListedRotatedAndRevoked(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	first, second := s.createKey("acme"), s.createKey("acme")
	if first.OrgID != second.OrgID || first.Key == second.Key {
		t.Errorf("two keys of one organisation: %+v, %+v", first.Prefix, second.Prefix)
	}
	other := s.createKey("other")
	rotated := readKey(t, run(t, s.keys("rotate", first.Prefix, "--overlap", "1h", "--json")))
	if rotated.OrgID != first.OrgID || rotated.Prefix == first.Prefix {
		t.Errorf("rotated %s of %s to %s of %s", first.Prefix, first.OrgID, rotated.Prefix, rotated.OrgID)
	}
	run(t, s.keys("revoke", second.Prefix))

	list := run(t, s.keys("list"))
	for _, key := range []apiKey{first, second, rotated, other} {
		if !strings.Contains(list, key.Prefix) || !strings.Contains(list, key.OrgID) {
			t.Errorf("the list does not have %s of %s:\n%s", key.Prefix, key.OrgID, list)
		}
		if strings.Contains(list, key.Key[len(key.Prefix)+1:]) {
			t.Error("the list shows a whole key")
		}
	}
	if own := run(t, s.keys("list", "--org-id", other.OrgID)); !strings.Contains(own, other.Prefix) || strings.Contains(own, first.Prefix) {
		t.Errorf("the list of one organisation is\n%s", own)
	}
	if text := run(t, s.keys("list", "--json")); !json.Valid([]byte(text)) || !strings.Contains(text, first.Prefix) {
		t.Errorf("the list as JSON is\n%s", text)
	}
	if n := count(t, s.db, "select count(*) from api_keys where position($1 in encode(key_hash, 'escape')) > 0", first.Key); n != 0 {
		t.Error("the whole key is in the database")
	}

	for _, args := range [][]string{{"revoke", "zap_live_000000000000"}, {"rotate", "zap_live_000000000000", "--overlap", "1h"}} {
		runFailing(t, s.keys(args...))
	}
	execute(t, s.db, "insert into organizations (id, name) values ('twin-1', 'twin'), ('twin-2', 'twin')")
	if line := runFailing(t, s.keys("create", "--org-name", "twin", "--json")); !strings.Contains(line, "--org-id") {
		t.Errorf("the line does not ask for --org-id: %s", line)
	}
	if key := readKey(t, run(t, s.keys("create", "--org-name", "twin", "--org-id", "twin-2", "--json"))); key.OrgID != "twin-2" {
		t.Errorf("a key of twin-2 belongs to %s", key.OrgID)
	}
}

func TestPruneSparesWhatIsStillToBeDelivered(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	writer := s.writer()
	proxy := s.proxy(writer.url)
	key, web := s.createKey("acme"), newClient(t)
	ids := make([]string, 3)
	for i := range ids {
		ids[i] = web.post(proxy.url, key.Key, anEvent).wants(t, 201, "accepted").ID
	}
	execute(t, s.db, "update event_deliveries set status = 'delivered' where id = $1", ids[0])
	prune := func(args ...string) {
		t.Helper()
		run(t, launch{program: writerProgram, env: s.env, args: append([]string{"prune"}, args...)})
	}
	prune("--older-than", "1h")
	if n := events(t, s.db); n != 3 {
		t.Errorf("of 3 events none of which is an hour old %d are left", n)
	}
	prune("--older-than", "1ms")
	if left := column(t, s.db, "select id from events order by id"); strings.Join(left, " ") != ids[1]+" "+ids[2] {
		t.Errorf("left are %q; wanted the two that are pending, %q", left, ids[1:])
	}
	prune("--older-than", "1ms", "--include-pending")
	if n := events(t, s.db); n != 0 {
		t.Errorf("%d events are left", n)
	}
}
