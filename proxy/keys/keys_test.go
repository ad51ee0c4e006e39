package keys_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keygate/migrations"
	"keygate/proxy/apikey"
	"keygate/proxy/auth"
	"keygate/proxy/keys"
	"keygate/shared/database"
	"keygate/tests/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// onBoth runs a test on a migrated database of either kind.
func onBoth(t *testing.T, test func(t *testing.T, db *database.DB, store *keys.Store)) {
	urls := map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "k.db") },
		"postgres": func(t *testing.T) string { return servers.Postgres(t).Database(t) },
	}
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			parsed, err := database.Parse(url(t))
			if err != nil {
				t.Fatal(err)
			}
			db, err := database.Open(t.Context(), parsed)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { db.Close() })
			if _, err := migrations.Up(t.Context(), db, migrations.Changelog, migrations.Auth); err != nil {
				t.Fatal(err)
			}
			test(t, db, keys.New(db, keys.Minting{Brand: "zap", Env: "live", Alg: auth.SHA256}))
		})
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func TestACreatedKeyIsStoredAsItsHashAlone(t *testing.T) {
	onBoth(t, func(t *testing.T, db *database.DB, store *keys.Store) {
		created := must[keys.Created](t)(store.Create(t.Context(), keys.Owner{Name: "Acme"}, time.Time{}))
		if prefix, ok := (apikey.Format{}).Split([]byte(created.Key)); !ok || string(prefix) != created.Prefix {
			t.Errorf("the key does not have the prefix %q", created.Prefix)
		}
		var hash []byte
		if err := db.QueryRow("select key_hash from api_keys where prefix = $1", created.Prefix).Scan(&hash); err != nil {
			t.Fatal(err)
		}
		if want := sha256.Sum256([]byte(created.Key)); string(hash) != string(want[:]) {
			t.Error("the stored hash is another one")
		}
	})
}

func TestOrganizationsAreFoundByNameOrId(t *testing.T) {
	onBoth(t, func(t *testing.T, db *database.DB, store *keys.Store) {
		create := func(name, id string) (keys.Created, error) {
			return store.Create(t.Context(), keys.Owner{Name: name, ID: id}, time.Time{})
		}
		first := must[keys.Created](t)(create("Acme", ""))
		if again := must[keys.Created](t)(create("Acme", "")); again.OrgID != first.OrgID || again.Prefix == first.Prefix {
			t.Errorf("got %+v after %+v", again, first)
		}
		if named := must[keys.Created](t)(create("Other", "org-7")); named.OrgID != "org-7" {
			t.Errorf("got %+v", named)
		}
		if known := must[keys.Created](t)(create("", "org-7")); known.OrgID != "org-7" {
			t.Errorf("got %+v", known)
		}
		must[keys.Created](t)(create("Acme", "org-8"))
		if _, err := create("Acme", ""); !errors.Is(err, keys.ErrAmbiguousName) {
			t.Errorf("two organizations of one name: %v", err)
		}
		if _, err := create("Acme", "org-7"); !errors.Is(err, keys.ErrOtherName) {
			t.Errorf("an organization under another name: %v", err)
		}
		if _, err := create("Acme", "org 9"); !errors.Is(err, auth.ErrOrgID) {
			t.Errorf("an id that must not be injected: %v", err)
		}
		if _, err := create("", "org-10"); err == nil {
			t.Error("an organization without a name was created")
		}
		var n int
		if err := db.QueryRow("select count(*) from organizations").Scan(&n); err != nil || n != 3 {
			t.Errorf("%d organizations, %v", n, err)
		}
	})
}

func TestManyWhoCreateAtOnceShareOneOrganization(t *testing.T) {
	onBoth(t, func(t *testing.T, db *database.DB, store *keys.Store) {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if _, err := store.Create(t.Context(), keys.Owner{Name: "Acme"}, time.Time{}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		var orgs, made int
		query := "select count(distinct org_id), count(*) from api_keys"
		if err := db.QueryRow(query).Scan(&orgs, &made); err != nil || orgs != 1 || made != 8 {
			t.Errorf("%d organizations hold %d keys, %v", orgs, made, err)
		}
	})
}

func TestAKeyRevokedByHandIsListedAsRevoked(t *testing.T) {
	onBoth(t, func(t *testing.T, db *database.DB, store *keys.Store) {
		created := must[keys.Created](t)(store.Create(t.Context(), keys.Owner{Name: "Acme"}, time.Time{}))
		if _, err := db.Exec("update api_keys set revoked_at = current_timestamp"); err != nil {
			t.Fatal(err)
		}
		if key := find(t, store, "", created.Prefix); key.Enabled || key.RevokedAt.IsZero() {
			t.Errorf("got %+v", key)
		}
		if _, err := store.Rotate(t.Context(), created.Prefix, time.Hour); !errors.Is(err, keys.ErrRevoked) {
			t.Errorf("rotating it: %v", err)
		}
	})
}

func TestAKeyIsStoredUnderThePepper(t *testing.T) {
	onBoth(t, func(t *testing.T, db *database.DB, _ *keys.Store) {
		store := keys.New(db, keys.Minting{Brand: "zap", Env: "live", Alg: auth.HMACSHA256, Pepper: []byte("salt and pepper")})
		created := must[keys.Created](t)(store.Create(t.Context(), keys.Owner{Name: "Acme"}, time.Time{}))
		mac := hmac.New(sha256.New, []byte("salt and pepper"))
		mac.Write([]byte(created.Key))
		var hash []byte
		var alg string
		query := "select key_hash, hash_alg from api_keys where prefix = $1"
		if err := db.QueryRow(query, created.Prefix).Scan(&hash, &alg); err != nil {
			t.Fatal(err)
		}
		if !hmac.Equal(hash, mac.Sum(nil)) || alg != "hmac-sha256" {
			t.Errorf("stored by %s", alg)
		}
	})
}

func find(t *testing.T, store *keys.Store, orgID, prefix string) keys.Key {
	t.Helper()
	for _, key := range must[[]keys.Key](t)(store.List(t.Context(), orgID)) {
		if key.Prefix == prefix {
			return key
		}
	}
	t.Fatalf("%s is not listed for %q", prefix, orgID)
	return keys.Key{}
}

func TestARotatedKeyGoesOnForTheOverlapAndNotLongerThanBefore(t *testing.T) {
	onBoth(t, func(t *testing.T, _ *database.DB, store *keys.Store) {
		old := must[keys.Created](t)(store.Create(t.Context(), keys.Owner{Name: "Acme"}, time.Time{}))
		before := time.Now()
		fresh := must[keys.Created](t)(store.Rotate(t.Context(), old.Prefix, time.Hour))
		if fresh.OrgID != old.OrgID || fresh.Prefix == old.Prefix {
			t.Errorf("got %+v for %+v", fresh, old)
		}
		if end := find(t, store, "", old.Prefix).ExpiresAt; end.Sub(before) < 59*time.Minute || end.Sub(before) > 61*time.Minute {
			t.Errorf("the old key expires at %v", end)
		}
		if end := find(t, store, "", fresh.Prefix).ExpiresAt; !end.IsZero() {
			t.Errorf("the new key expires at %v", end)
		}
		sooner := before.Add(time.Minute)
		short := must[keys.Created](t)(store.Create(t.Context(), keys.Owner{Name: "Acme"}, sooner))
		must[keys.Created](t)(store.Rotate(t.Context(), short.Prefix, time.Hour))
		if end := find(t, store, "", short.Prefix).ExpiresAt; end.Sub(sooner).Abs() > time.Second {
			t.Errorf("the short-lived key expires at %v instead of %v", end, sooner)
		}
	})
}

func TestRevoke(t *testing.T) {
	onBoth(t, func(t *testing.T, _ *database.DB, store *keys.Store) {
		created := must[keys.Created](t)(store.Create(t.Context(), keys.Owner{Name: "Acme"}, time.Time{}))
		if err := store.Revoke(t.Context(), created.Prefix); err != nil {
			t.Fatal(err)
		}
		first := find(t, store, created.OrgID, created.Prefix)
		if first.Enabled || first.RevokedAt.IsZero() {
			t.Errorf("got %+v", first)
		}
		if err := store.Revoke(t.Context(), created.Prefix); err != nil {
			t.Errorf("again: %v", err)
		}
		if again := find(t, store, created.OrgID, created.Prefix); !again.RevokedAt.Equal(first.RevokedAt) {
			t.Errorf("revoked at %v, and then at %v", first.RevokedAt, again.RevokedAt)
		}
		if _, err := store.Rotate(t.Context(), created.Prefix, time.Hour); !errors.Is(err, keys.ErrRevoked) {
			t.Errorf("rotating a revoked key: %v", err)
		}
	})
}

func TestAnUnknownPrefixIsAnError(t *testing.T) {
	onBoth(t, func(t *testing.T, _ *database.DB, store *keys.Store) {
		if err := store.Revoke(t.Context(), "zap_live_nothing"); !errors.Is(err, keys.ErrUnknownPrefix) {
			t.Errorf("revoking: %v", err)
		}
		if _, err := store.Rotate(t.Context(), "zap_live_nothing", 0); !errors.Is(err, keys.ErrUnknownPrefix) {
			t.Errorf("rotating: %v", err)
		}
	})
}

func TestListPicksTheOrganization(t *testing.T) {
	onBoth(t, func(t *testing.T, _ *database.DB, store *keys.Store) {
		var last keys.Created
		for _, name := range []string{"Acme", "Acme", "Other"} {
			last = must[keys.Created](t)(store.Create(context.Background(), keys.Owner{Name: name}, time.Time{}))
		}
		all := must[[]keys.Key](t)(store.List(t.Context(), ""))
		if len(all) != 3 || all[0].OrgName == "" || all[0].CreatedAt.IsZero() || !all[0].OrgEnabled {
			t.Errorf("got %+v", all)
		}
		if one := must[[]keys.Key](t)(store.List(t.Context(), last.OrgID)); len(one) != 1 || one[0].OrgName != "Other" {
			t.Errorf("got %+v", one)
		}
	})
}
