package pgsource_test

import (
	"context"
	"sync"
	"testing"

	"keygate/proxy/auth/authtest"
	"keygate/proxy/auth/pgsource"
	"keygate/tests/link"
)

// A connection that is slow to be made, or refused because the server has no more of them, costs nobody an answer while
// others come free.
func TestLookUpsAreServedByTheFirstConnectionThatIsFree(t *testing.T) {
	const concurrency = 4
	for name, f := range map[string]struct {
		begin link.Mode
		met   func(l *link.Link, pool pgsource.Pool) bool
	}{
		"new ones hang": {
			link.HoldsNew,
			func(_ *link.Link, pool pgsource.Pool) bool { return pool.Total == pool.Max },
		},
		"new ones are refused": {
			link.RefusesNew,
			func(l *link.Link, _ pgsource.Pool) bool { return l.Refused() > 0 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			db, url := ownTables(t)
			authtest.SeedKeys(t, db, "o", "zap_live_a")
			l, linked := link.StartTo(t, url, nil)
			source := open(t, pgsource.Config{URL: linked, Concurrency: concurrency})
			idle := 0
			authtest.Eventually(t, "two connections or three", func() bool {
				pool := source.Pool()
				idle = pool.Idle
				return idle >= 2 && idle == pool.Total
			})
			l.Set(f.begin)
			release := block(t, url)
			ctx, cancel := context.WithTimeout(t.Context(), authtest.Patience)
			defer cancel()
			var all sync.WaitGroup
			for i := range 8 {
				all.Go(func() {
					if keys, err := source.Lookup(ctx, "zap_live_a"); err != nil || len(keys) != 1 {
						t.Errorf("%d keys, %v", len(keys), err)
					}
				})
				if i < concurrency { // or they would go together
					authtest.Eventually(t, "look-up with a connection of its own, if there is one", func() bool {
						pool := source.Pool()
						return pool.Acquired > i || i >= idle && pool.Total > i || f.met(l, pool)
					})
				}
			}
			authtest.Eventually(t, "attempt to connect", func() bool { return f.met(l, source.Pool()) })
			release()
			all.Wait()
		})
	}
}

// block holds up every look-up until release.
func block(t *testing.T, url string) (release func()) {
	t.Helper()
	tx, err := dial(t, url).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	authtest.Exec(t, tx, "lock table api_keys in access exclusive mode")
	return func() {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
}
