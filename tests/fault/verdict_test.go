package fault

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
)

// An event without a dedup id to which one of these was the last answer is not stored, and never will be.
var saysNotStored = []string{"unavailable", "queue_full", "auth_unavailable", "disk_full", unconnected}

// crimes are what must not be found. Each question counts; all are asked of PostgreSQL and of SQLite.
var crimes = []struct{ what, question string }{
	{"acknowledged events are not stored under the id in the answer", `
		select count(*) from ledger l where l.acknowledged <> '' and not exists (
			select 1 from stored s where s.n = l.n and s.id = l.acknowledged and s.org_id = l.org and s.dedup_id = l.dedup)`},
	{"events are stored more than once", `select count(*) from (select n from stored group by n having count(*) > 1) x`},
	{"events are stored that nobody sent", `
		select count(*) from stored s where not exists (
			select 1 from ledger l where l.n = s.n and l.org = s.org_id and l.dedup = s.dedup_id)`},
	{"ids are there more than once", `select count(*) from (select id from events group by id having count(*) > 1) x`},
	{"dedup ids are there more than once in an organisation", `
		select count(*) from (select 1 from events where dedup_id is not null group by org_id, dedup_id having count(*) > 1) x`},
	{"events have no delivery", `
		select count(*) from events e where not exists (
			select 1 from event_deliveries d where d.event_id = e.id and d.id = e.id and d.org_id = e.org_id)`},
	{"deliveries have no event", `
		select count(*) from event_deliveries d where not exists (
			select 1 from events e where e.id = d.event_id and e.org_id = d.org_id)`},
	{"events have several deliveries", `
		select count(*) from (select event_id, org_id from event_deliveries group by event_id, org_id having count(*) > 1) x`},
	{"events are stored of which a client was told that they are not", `
		select count(*) from ledger l join stored s on s.n = l.n
		where l.acknowledged = '' and l.dedup = '' and l.answer in ('` + strings.Join(saysNotStored, "','") + `')`},
	{"events are stored under another id than the client was told", `
		select count(*) from ledger l join stored s on s.n = l.n
		where l.acknowledged = '' and l.dedup = '' and l.named <> '' and l.named <> s.id`},
	{"events with a dedup id were given up", `select count(*) from ledger where acknowledged = '' and dedup <> ''`},
}

// A verdict is what the tables say about a book.
type verdict struct {
	sent, acknowledged, stored int
}

// judge compares a book with the tables. Nothing may be on its way any more.
func judge(tb testing.TB, databaseURL string, b *book) verdict {
	tb.Helper()
	db := connect(tb, databaseURL)
	defer db.Close()
	copyBook(tb, db, b)
	for _, crime := range crimes {
		if n := number(tb, db, crime.question); n > 0 {
			tb.Errorf("%d %s", n, crime.what)
		}
	}
	if tb.Failed() {
		describe(tb, db)
	}
	return verdict{
		sent:         number(tb, db, `select count(*) from ledger`),
		acknowledged: number(tb, db, `select count(*) from ledger where acknowledged <> ''`),
		stored:       number(tb, db, `select count(*) from events`),
	}
}

// copyBook puts the book beside the tables.
func copyBook(tb testing.TB, db *sql.DB, b *book) {
	tb.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	run := func(statement string, args ...any) {
		tb.Helper()
		if _, err := db.ExecContext(context.Background(), statement, args...); err != nil {
			tb.Fatalf("%.200s: %v", statement, err)
		}
	}
	run(`create temp table ledger (n bigint, org text, dedup text, acknowledged text, answer text, named text)`)
	const columns, rows = 6, 1000
	for from := 0; from < len(b.entries); from += rows {
		page := b.entries[from:min(from+rows, len(b.entries))]
		var places []string
		var args []any
		for i, e := range page {
			at := i*columns + 1
			places = append(places, fmt.Sprintf("($%d,$%d,$%d,$%d,$%d,$%d)", at, at+1, at+2, at+3, at+4, at+5))
			args = append(args, e.number, e.org, e.dedup, e.stored, e.last, e.named)
		}
		run("insert into ledger values "+strings.Join(places, ","), args...)
	}
	run(`create temp table stored as select cast(id as text) as id, org_id, coalesce(dedup_id, '') as dedup_id,
		cast(payload ->> 'n' as bigint) as n from events`)
	run(`create index ledger_n on ledger (n)`)
	run(`create index stored_n on stored (n)`)
	run(`analyze`)
}

func number(tb testing.TB, db *sql.DB, question string) (n int) {
	tb.Helper()
	if err := db.QueryRowContext(context.Background(), question).Scan(&n); err != nil {
		tb.Fatalf("%s: %v", question, err)
	}
	return n
}

// describe shows some of what was not acknowledged, but is stored.
func describe(tb testing.TB, db *sql.DB) {
	tb.Helper()
	rows, err := db.Query(`select l.n, l.dedup, l.answer, l.named, s.id from ledger l join stored s on s.n = l.n
		where l.acknowledged = '' limit 20`)
	if err != nil {
		tb.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var n int64
		var dedup, answer, named, id string
		if err := rows.Scan(&n, &dedup, &answer, &named, &id); err != nil {
			tb.Fatal(err)
		}
		tb.Logf("event %d %s: answered %s %s, stored as %s", n, dedup, answer, named, id)
	}
	if err := rows.Err(); err != nil {
		tb.Fatal(err)
	}
}
