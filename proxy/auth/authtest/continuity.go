package authtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"keygate/proxy/auth"
	"keygate/shared/database"
)

func startsLate(t *testing.T, f LogFixture) {
	SeedKeys(t, f.DB, "o", "zap_live_a", "zap_live_b")
	Exec(t, f.DB, "update api_keys set enabled = false where prefix = 'zap_live_a'")
	l := follow(t, f)
	l.Await(t, 0, auth.Remove, "zap_live_a")
	if first := l.Since(0)[0]; first.Verb != auth.Demote {
		t.Errorf("before the demotion: heard %s", l)
	}
}

func runsAgain(t *testing.T, f LogFixture) {
	SeedKeys(t, f.DB, "o", "zap_live_a", "zap_live_b")
	follower := f.Follow(t)
	l, stop := ListenUntil(t, follower)
	l.Await(t, 0, auth.Demote, "")
	Settle(t, f.DB, l)
	stop()
	Exec(t, f.DB, "update api_keys set enabled = false where prefix = 'zap_live_a'")
	again := Listen(t, follower)
	again.Await(t, 0, auth.Remove, "zap_live_a")
	if first := again.Since(0)[0]; first.Verb != auth.Demote || !first.All {
		t.Errorf("before the demotion: heard %s", again)
	}
	Settle(t, f.DB, again)
	if slices.ContainsFunc(again.Since(0), func(c auth.Change) bool { return slices.Contains(c.Prefixes, "zap_live_b") }) {
		t.Errorf("what had been delivered was delivered again: heard %s", again)
	}
}

func prunes(t *testing.T, f LogFixture) {
	const old = 250
	var prefixes []string
	for i := range old {
		prefixes = append(prefixes, fmt.Sprintf("zap_live_%d", i))
	}
	SeedKeys(t, f.DB, "o", prefixes...)
	age := "update keygate_changes set changed_at = changed_at - 2 * 3600000"
	if f.DB.Dialect == database.Postgres {
		age = "update keygate_changes set changed_at = changed_at - interval '2 hours'"
	}
	Exec(t, f.DB, age)
	l := follow(t, f)
	rows := func() (n int) {
		if err := f.DB.QueryRowContext(t.Context(), "select count(*) from keygate_changes").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := rows()
	for i := range 6 {
		mark := l.Mark()
		Exec(t, f.DB, "update api_keys set enabled = not enabled where prefix = $1", prefixes[i])
		l.Await(t, mark, auth.Remove, prefixes[i])
		now := rows()
		if now < before-100+1 {
			t.Errorf("one change pruned %d rows", before+1-now)
		}
		before = now
	}
	// In PostgreSQL one old row remains, by which the age of all others is known.
	if before > 6+1 {
		t.Errorf("%d rows are left", before)
	}
	for _, c := range l.Since(1) {
		if c.Verb != auth.Remove || c.All {
			t.Errorf("heard %v: what was pruned had long been read", c)
		}
	}
}

func reconnects(t *testing.T, f LogFixture) {
	if f.Cut == nil {
		return
	}
	SeedKeys(t, f.DB, "o", "zap_live_a")
	l := follow(t, f)
	for range 5 {
		mark := Settle(t, f.DB, l)
		f.Cut(t)
		Exec(t, f.DB, "update api_keys set enabled = not enabled where prefix = 'zap_live_a'")
		l.Await(t, mark, auth.Demote, "")
		l.Await(t, mark, auth.Remove, "zap_live_a")
	}
}

func load(t *testing.T, f LogFixture) {
	const writers, changes = 4, 40
	for w := range writers {
		for i := range changes {
			SeedKeys(t, f.DB, fmt.Sprintf("o%d", w), fmt.Sprintf("zap_live_%d_%d", w, i))
		}
	}
	l := follow(t, f)
	mark := Settle(t, f.DB, l)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range changes {
				if err := revoke(t.Context(), f.DB, fmt.Sprintf("zap_live_%d_%d", w, i), i%4 != 3); err != nil {
					t.Error(err)
					return
				}
				if w == 0 && i%10 == 0 && f.Cut != nil {
					f.Cut(t)
				}
			}
		})
	}
	all.Wait()
	for w := range writers {
		for i := range changes {
			if i%4 != 3 {
				l.Await(t, mark, auth.Remove, fmt.Sprintf("zap_live_%d_%d", w, i))
			}
		}
	}
	if rolledBack := fmt.Sprintf("zap_live_%d_%d", 0, 3); f.Cut == nil && slices.ContainsFunc(l.Since(mark),
		func(c auth.Change) bool { return slices.Contains(c.Prefixes, rolledBack) }) {
		t.Errorf("heard of %s, which was rolled back", rolledBack)
	}
}

func revoke(ctx context.Context, db *database.DB, prefix string, keep bool) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	_, err = tx.ExecContext(ctx, "update api_keys set enabled = false where prefix = $1", prefix)
	if err != nil || !keep {
		return err
	}
	return tx.Commit()
}
