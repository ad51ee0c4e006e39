package pgsource_test

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/proxy/auth/keyquery"
	"keygate/proxy/auth/pgsource"
	"keygate/tests/servers"
)

// What an API that exists already would be given, on its own table.
const existingQuery = "select id as org_id, api_key_hash as key_hash, active as enabled " +
	"from organizations where api_key_prefix = $1"

func TestQueriesOfAnExistingAPI(t *testing.T) {
	url := existingAPI(t)
	allow := func(query string) {
		t.Helper()
		source, err := pgsource.New(config(pgsource.Config{URL: url, KeyQuery: query}))
		if err != nil {
			t.Fatal(err)
		}
		defer source.Close()
		if err := source.Open(t.Context()); err != nil {
			t.Errorf("%s: %v", query, err)
		}
		if keys, err := source.Lookup(t.Context(), "sk_live_000000001"); err != nil || len(keys) != 1 ||
			keys[0].OrgID != "6f1e1d6e-0000-4000-8000-000000000001" || !keys[0].Enabled {
			t.Errorf("%s: got %+v, %v", query, keys, err)
		}
	}
	allow(existingQuery)
	allow("  " + existingQuery + " ;\n ")
	allow(existingQuery + " order by created_at limit 1 -- the newest")
	allow("with o as (select * from organizations) " + strings.Replace(existingQuery, "organizations", "o", 1))
	allow(existingQuery + " union all " + existingQuery + " and false")
	const from = " from organizations where api_key_prefix = $1"
	allow("select id as org_id, encode(api_key_hash, 'hex') as key_hash" + from + "::text")
	allow("select id as org_id, api_key_hash as key_hash, null::text as hash_alg" + from)
	allow("select id as org_id, api_key_hash as key_hash, created_at + interval '100 years' as expires_at" + from)
}

func TestUnusableQueriesAreRefusedWithASentence(t *testing.T) {
	url := existingAPI(t)
	deny := func(want, query string) {
		t.Helper()
		source, err := pgsource.New(config(pgsource.Config{URL: url, KeyQuery: query}))
		if err != nil {
			t.Fatal(err)
		}
		defer source.Close()
		if err := source.Open(t.Context()); !errors.Is(err, keyquery.Err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", query, err, want)
		}
		if keys, err := source.Lookup(t.Context(), "sk_live_000000001"); err == nil {
			t.Errorf("%s: the look-up gave %v", query, keys)
		}
	}
	deny("no column key_hash", "select id as org_id from organizations where api_key_prefix = $1")
	deny(`a column "id"`, "select * from organizations where api_key_prefix = $1")
	deny("it has 0 parameters", "select id as org_id, api_key_hash as key_hash from organizations")
	deny("it has 2 parameters", existingQuery+" and name = $2")
	const from = " from organizations where name = $1"
	deny("write $1::text", "select id as org_id, api_key_hash as key_hash from organizations where length(name) = $1")
	deny("key_hash must be bytea or text", "select id as org_id, created_at as key_hash"+from)
	deny("enabled must be boolean", "select id as org_id, api_key_hash as key_hash, 1 as enabled"+from)
	deny("expires_at must be", "select id as org_id, api_key_hash as key_hash, 7 as expires_at"+from)
	deny(`relation "org" does not exist`, strings.Replace(existingQuery, "organizations", "org", 1))
	deny("syntax error", "selekt")
	deny("one SELECT", "delete from organizations where api_key_prefix = $1")
	deny("one SELECT that can", "delete from organizations where api_key_prefix = $1 "+
		"returning id as org_id, api_key_hash as key_hash")
	deny("data-modifying", "with gone as (delete from organizations where api_key_prefix = $1 returning *) "+
		"select id as org_id, api_key_hash as key_hash from gone")
	deny("multiple commands", existingQuery+"; drop table organizations")
}

func TestMissingTablesNameTheCommand(t *testing.T) {
	source, err := pgsource.New(config(pgsource.Config{URL: servers.Postgres(t).Database(t)}))
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	if err := source.Open(t.Context()); !errors.Is(err, keyquery.Err) || !strings.Contains(err.Error(), "proxy migrate up") {
		t.Errorf("got %v", err)
	}
}

func TestADatabaseOutOfReachIsNotTheQuerysFault(t *testing.T) {
	source, err := pgsource.New(pgsource.Config{
		URL: "postgres://ann:s3cret@" + servers.FreeAddr(t) + "/app", KeyQuery: existingQuery,
		Logger: slog.New(slog.DiscardHandler), Metrics: pgsource.NewMetrics(prometheus.NewRegistry()),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	if err := source.Open(t.Context()); err == nil || errors.Is(err, keyquery.Err) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v", err)
	}
}

func TestAForeignTableHasNoDirectory(t *testing.T) {
	source := open(t, pgsource.Config{URL: existingAPI(t), KeyQuery: existingQuery})
	if prefixes, err := source.Prefixes(t.Context(), "o"); err == nil || errors.Is(err, auth.ErrNoOrganization) {
		t.Errorf("got %v, %v", prefixes, err)
	}
}

// existingAPI makes the tables of another program, with one organisation.
func existingAPI(tb testing.TB) string {
	tb.Helper()
	url := servers.Postgres(tb).Database(tb)
	schema, err := os.ReadFile("testdata/existing_api.sql")
	if err != nil {
		tb.Fatal(err)
	}
	db := dial(tb, url)
	authtest.Exec(tb, db, string(schema))
	authtest.Exec(tb, db, "insert into organizations (id, name, api_key_prefix, api_key_hash) values ($1, 'One', $2, $3)",
		"6f1e1d6e-0000-4000-8000-000000000001", "sk_live_000000001", make([]byte, 32))
	return url
}
