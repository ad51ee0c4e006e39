package pgsource_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"keygate/migrations"
	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/proxy/auth/keyquery"
	"keygate/proxy/auth/pgsource"
	"keygate/shared/database"
	"keygate/tests/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A table of another program with every column that a key query may give, and with several rows for a prefix.
const (
	foreignTable = `create table credentials (start varchar, owner text, digest text, live boolean, owner_live boolean,
		until timestamptz, kind text)`
	foreignQuery = `select digest as key_hash, owner as org_id, live as enabled, owner_live as org_enabled,
		until as expires_at, kind as hash_alg -- and nothing else
		from credentials where start = $1;`
)

func TestSourceOnOurTables(t *testing.T) {
	db, url := ownTables(t)
	authtest.Exec(t, db, "alter table organizations drop constraint organizations_id_check")
	authtest.TestSource(t, func(t *testing.T) authtest.SourceFixture {
		authtest.Exec(t, db, "truncate organizations cascade")
		source := open(t, pgsource.Config{URL: url})
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
	url := servers.Postgres(t).Database(t)
	db := dial(t, url)
	authtest.Exec(t, db, foreignTable)
	authtest.TestSource(t, func(t *testing.T) authtest.SourceFixture {
		authtest.Exec(t, db, "truncate credentials")
		source := open(t, pgsource.Config{URL: url, KeyQuery: foreignQuery})
		return authtest.SourceFixture{
			Source: source, Close: source.Close, Unreachable: unreachable(t), Many: true,
			Put: func(tb testing.TB, prefix string, key auth.Key) {
				authtest.Exec(tb, db, "insert into credentials values ($1, $2, encode($3, 'hex'), $4, $5, $6, $7)",
					prefix, key.OrgID, key.Hash[:], key.Enabled, key.OrgEnabled, expiry(key), key.Alg.String())
			},
			Delete: func(tb testing.TB, prefix string) {
				authtest.Exec(tb, db, "delete from credentials where start = $1", prefix)
			},
		}
	})
}

// A pooler in transaction mode wants a mode without prepared statements.
func TestEveryModeOfExecutionReadsTheSame(t *testing.T) {
	db, url := ownTables(t)
	authtest.SeedKeys(t, db, "o", "zap_live_a")
	authtest.Exec(t, db, "update api_keys set expires_at = '2040-01-02 03:04:05.678Z', hash_alg = 'hmac-sha256'")
	want := auth.Key{OrgID: "o", Alg: auth.HMACSHA256, Enabled: true, OrgEnabled: true}
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		source := open(t, pgsource.Config{URL: withParameter(url, "default_query_exec_mode", mode)})
		keys, err := source.Lookup(t.Context(), "zap_live_a")
		if err != nil || len(keys) != 1 || keys[0].ExpiresAt.UnixMilli() != 2209086245678 {
			t.Errorf("%s: got %+v, %v", mode, keys, err)
			continue
		}
		if keys[0].ExpiresAt = (time.Time{}); keys[0] != want {
			t.Errorf("%s: got %+v, want %+v", mode, keys[0], want)
		}
		l := authtest.Listen(t, source.Follower())
		l.Await(t, 0, auth.Demote, "")
		authtest.Settle(t, db, l)
	}
}

func TestARevocationByItsTimeAloneIsARevocation(t *testing.T) {
	db, url := ownTables(t)
	authtest.SeedKeys(t, db, "o", "zap_live_a")
	authtest.Exec(t, db, "update api_keys set revoked_at = now()")
	keys, err := open(t, pgsource.Config{URL: url}).Lookup(t.Context(), "zap_live_a")
	if err != nil || len(keys) != 1 || keys[0].Enabled {
		t.Errorf("got %+v, %v", keys, err)
	}
}

func TestInfiniteExpiryIsUnderstood(t *testing.T) {
	db, url := ownTables(t)
	authtest.SeedKeys(t, db, "o", "zap_live_a")
	source := open(t, pgsource.Config{URL: url})
	for value, never := range map[string]bool{"infinity": true, "-infinity": false} {
		authtest.Exec(t, db, "update api_keys set expires_at = $1", value)
		keys, err := source.Lookup(t.Context(), "zap_live_a")
		if err != nil || len(keys) != 1 || keys[0].ExpiresAt.IsZero() != never || keys[0].ExpiresAt.After(time.Now()) {
			t.Errorf("%s: got %+v, %v", value, keys, err)
		}
	}
}

func TestADatabaseThatDoesNotAnswerIsAnErrorAtTheDeadline(t *testing.T) {
	db, url := ownTables(t)
	authtest.SeedKeys(t, db, "o", "zap_live_a")
	source := open(t, pgsource.Config{URL: url})
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	authtest.Exec(t, tx, "lock table api_keys in access exclusive mode")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if keys, err := source.Lookup(ctx, "zap_live_a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, %v, want the deadline", keys, err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if keys, err := source.Lookup(t.Context(), "zap_live_a"); err != nil || len(keys) != 1 {
		t.Errorf("afterwards: got %v, %v", keys, err)
	}
}

func TestAServerThatComesBackIsAskedAgain(t *testing.T) {
	t.Parallel()
	server := servers.StartPostgres(t)
	url := server.Database(t)
	migrate(t, url)
	source := open(t, pgsource.Config{URL: url})
	for range 2 {
		server.Stop()
		if keys, err := source.Lookup(t.Context(), "zap_live_a"); err == nil {
			t.Errorf("stopped: got %v and no error", keys)
		}
		server.Start()
		authtest.Eventually(t, "an answer", func() bool {
			_, err := source.Lookup(t.Context(), "zap_live_a")
			return err == nil
		})
	}
}

func TestAStandbyIsNotAsked(t *testing.T) {
	t.Parallel()
	server := servers.StartPostgres(t)
	url := server.Database(t)
	migrate(t, url)
	var dir string
	if err := dial(t, url).QueryRow("show data_directory").Scan(&dir); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	if err := os.WriteFile(filepath.Join(dir, "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	server.Start()
	source, err := pgsource.New(config(pgsource.Config{URL: url}))
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	for range 2 {
		if keys, err := source.Lookup(t.Context(), "zap_live_a"); err == nil || !strings.Contains(err.Error(), "standby") {
			t.Errorf("got %v, %v", keys, err)
		}
	}
}

func TestARoleThatMayOnlySelectIsEnough(t *testing.T) {
	db, url := ownTables(t)
	authtest.SeedKeys(t, db, "o", "zap_live_a")
	role := "reader_" + strings.ToLower(t.Name()[4:10])
	authtest.Exec(t, db, "create role "+role+" login")
	t.Cleanup(func() {
		if _, err := db.Exec("drop owned by " + role + "; drop role " + role); err != nil {
			t.Error(err)
		}
	})
	authtest.Exec(t, db, "alter role "+role+" set default_transaction_read_only = on")
	authtest.Exec(t, db, "grant select on organizations, api_keys, keygate_changes to "+role)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	source := open(t, pgsource.Config{URL: strings.Replace(url, config.User+"@", role+"@", 1)})
	if keys, err := source.Lookup(t.Context(), "zap_live_a"); err != nil || len(keys) != 1 {
		t.Errorf("got %v, %v", keys, err)
	}
	if err := source.ProveListening(t.Context()); err != nil {
		t.Error(err)
	}
	l := authtest.Listen(t, source.Follower())
	l.Await(t, 0, auth.Demote, "")
	authtest.Settle(t, db, l)
}

func TestMoreRowsThanAPrefixCanHaveAreAnError(t *testing.T) {
	url := servers.Postgres(t).Database(t)
	authtest.Exec(t, dial(t, url), foreignTable)
	authtest.Exec(t, dial(t, url), "insert into credentials select 'zap_live_a', 'o', repeat('00', 32) from generate_series(1, 300)")
	source := open(t, pgsource.Config{URL: url, KeyQuery: foreignQuery})
	if keys, err := source.Lookup(t.Context(), "zap_live_a"); !errors.Is(err, keyquery.ErrRow) {
		t.Errorf("got %d keys, %v", len(keys), err)
	}
}

func TestURLsThatCannotBeReadAreNotQuoted(t *testing.T) {
	for _, c := range []pgsource.Config{
		{URL: "postgres://ann:s3cret@db:port/app"},
		{URL: "postgres://ann:s3cret@db/app", ListenURL: "postgres://ann:s3cret@db:port/app"},
	} {
		if _, err := pgsource.New(config(c)); !errors.Is(err, database.ErrURL) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("got %v", err)
		}
	}
}

func config(c pgsource.Config) pgsource.Config {
	c.Logger, c.Metrics = slog.New(slog.DiscardHandler), pgsource.NewMetrics(prometheus.NewRegistry())
	return c
}

func open(tb testing.TB, c pgsource.Config) *pgsource.Source {
	tb.Helper()
	source, err := pgsource.New(config(c))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(source.Close)
	if err := source.Open(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return source
}

func unreachable(tb testing.TB) *pgsource.Source {
	tb.Helper()
	source, err := pgsource.New(config(pgsource.Config{URL: "postgres://ann@" + servers.FreeAddr(tb) + "/app"}))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(source.Close)
	return source
}

func ownTables(tb testing.TB) (*database.DB, string) {
	tb.Helper()
	return tablesOn(tb, servers.Postgres(tb))
}

func tablesOn(tb testing.TB, server *servers.PostgresServer) (*database.DB, string) {
	tb.Helper()
	url := server.Database(tb)
	migrate(tb, url)
	return dial(tb, url), url
}

func migrate(tb testing.TB, url string) {
	tb.Helper()
	if _, err := migrations.Up(tb.Context(), dial(tb, url), migrations.Changelog, migrations.Auth); err != nil {
		tb.Fatal(err)
	}
}

func dial(tb testing.TB, text string) *database.DB {
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

func withParameter(url, name, value string) string {
	if strings.Contains(url, "?") {
		return url + "&" + name + "=" + value
	}
	return url + "?" + name + "=" + value
}

func expiry(key auth.Key) any {
	if key.ExpiresAt.IsZero() {
		return nil
	}
	return key.ExpiresAt
}
