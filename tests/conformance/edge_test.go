package conformance

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"keygate/migrations"
	"keygate/proxy/app"
	"keygate/proxy/auth"
	"keygate/proxy/config"
	"keygate/proxy/keys"
	"keygate/shared/database"
)

const (
	org         = "org-of-the-tests"
	trustSecret = "a trust secret of the conformance tests"
)

// edge is a proxy, ours or another's, in front of an upstream.
type edge struct {
	addr      string
	key       string // of org
	suspended string // a key of an organisation that is suspended; only of ours
	stop      func()
}

// newEdge runs our proxy in this process, on a table of keys of its own.
func newEdge(tb testing.TB, upstream string, change ...func(*config.Config)) *edge {
	tb.Helper()
	e := &edge{}
	cfg := config.Default()
	cfg.Listen, cfg.AdminListen, cfg.Upstream.URLs = "127.0.0.1:0", "127.0.0.1:0", []string{"http://" + upstream}
	cfg.Keys.DatabaseURL = "sqlite:" + filepath.Join(tb.TempDir(), "keys")
	cfg.Cache.Size = 8 << 20
	cfg.TrustSecret = trustSecret
	for _, f := range change {
		f(&cfg)
	}
	e.createKeys(tb, cfg.Keys.DatabaseURL)
	ctx, cancel := context.WithCancel(context.Background())
	proxy, err := app.Open(ctx, cfg, slog.New(slog.DiscardHandler), true)
	if err != nil {
		cancel()
		tb.Fatal(err)
	}
	e.addr = proxy.Addr().String()
	done := make(chan error, 1)
	go func() { done <- proxy.Run(ctx) }()
	stopped := false
	e.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("the proxy ended with %v", err)
		}
	}
	tb.Cleanup(e.stop)
	return e
}

func (e *edge) createKeys(tb testing.TB, databaseURL string) {
	tb.Helper()
	ctx := context.Background()
	url, err := database.Parse(databaseURL)
	if err != nil {
		tb.Fatal(err)
	}
	db, err := database.Open(ctx, url)
	if err != nil {
		tb.Fatal(err)
	}
	defer db.Close()
	if _, err := migrations.Up(ctx, db, migrations.Changelog, migrations.Auth); err != nil {
		tb.Fatal(err)
	}
	store := keys.New(db, keys.Minting{Brand: "zap", Env: "live", Alg: auth.SHA256})
	create := func(org string) string {
		created, err := store.Create(ctx, keys.Owner{Name: org, ID: org}, time.Time{})
		if err != nil {
			tb.Fatal(err)
		}
		return created.Key
	}
	e.key, e.suspended = create(org), create("suspended")
	if _, err := db.ExecContext(ctx, "update organizations set enabled = false where id = 'suspended'"); err != nil {
		tb.Fatal(err)
	}
}
