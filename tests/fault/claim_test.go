package fault

import (
	"context"
	"database/sql"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"keygate/tests/servers"
)

// documented is the SQL of docs/writer.md that contains something.
func documented(tb testing.TB, what string) string {
	tb.Helper()
	page, err := os.ReadFile("../../docs/writer.md")
	if err != nil {
		tb.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		if strings.Contains(block[1], what) {
			return block[1]
		}
	}
	tb.Fatalf("no SQL in docs/writer.md contains %q", what)
	return ""
}

func TestTheReadmeHasTheDocumentedClaim(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil || !strings.Contains(string(readme), documented(t, "skip locked")) {
		t.Errorf("it does not: %v", err)
	}
}

const (
	consumers  = 10
	claimLimit = 100 // in the query
)

// claimAll lets consumers claim deliveries until none is due.
func claimAll(t *testing.T, deliveries int) {
	url, query := servers.Postgres(t).Database(t), documented(t, "skip locked")
	command(t, []string{"DATABASE_URL=" + url}, "writer", "migrate", "up")
	execute(t, url, `with e as (
		insert into events (id, org_id, type, payload, created_at)
		select gen_random_uuid(), 'org-' || n % 7, 'a', '{}', now() from generate_series(1, `+strconv.Itoa(deliveries)+`) n
		returning id, org_id, created_at)
		insert into event_deliveries (id, org_id, event_id, next_attempt_at, created_at)
		select id, org_id, id, created_at, created_at from e`)
	began := time.Now()
	var group sync.WaitGroup
	var mu sync.Mutex
	claims, claimed := make(map[string]int), 0
	for range consumers {
		group.Go(func() {
			db := connect(t, url)
			defer db.Close()
			for {
				ids, err := claim(t.Context(), db, query)
				mu.Lock()
				for _, id := range ids {
					claims[id]++
				}
				claimed += len(ids)
				done := claimed >= deliveries
				mu.Unlock()
				if err != nil || len(ids) > claimLimit {
					t.Errorf("a consumer claimed %d deliveries: %v", len(ids), err)
					return
				}
				if done || len(ids) == 0 && time.Since(began) > patience { // the last may be in others' hands
					return
				}
			}
		})
	}
	group.Wait()
	if claimed != deliveries || len(claims) != deliveries {
		t.Errorf("%d claims of %d different deliveries, want one of each of %d", claimed, len(claims), deliveries)
	}
	if n := ask(t, url, `select count(*) from event_deliveries where attempts = 1 and next_attempt_at > now()`); n != deliveries {
		t.Errorf("%d deliveries have been attempted once, want %d", n, deliveries)
	}
	took := time.Since(began)
	t.Logf("%d consumers claimed %d deliveries in %v, %.0f a second", consumers, claimed, took.Round(time.Millisecond),
		float64(claimed)/took.Seconds())
}

func claim(ctx context.Context, db *sql.DB, query string) (ids []string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id, org string
		var attempts int
		if err := rows.Scan(&id, &org, &attempts); err != nil {
			return nil, err
		}
		ids = append(ids, id+" "+org)
	}
	return ids, rows.Err()
}

func TestTenConsumersClaimEachDeliveryOnce(t *testing.T) {
	t.Parallel()
	claimAll(t, 10_000)
}
