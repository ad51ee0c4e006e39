package e2e

import (
	"database/sql"
	"net/url"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"
)

// open connects to the database of a URL as DATABASE_URL takes it. SQLite files are only read.
func open(tb testing.TB, databaseURL string) *sql.DB {
	tb.Helper()
	driver, source := "pgx", databaseURL
	if path, ok := strings.CutPrefix(databaseURL, "sqlite:"); ok {
		driver, source = "sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?_pragma=query_only(1)&_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, source)
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

func execute(tb testing.TB, db *sql.DB, statement string, args ...any) {
	tb.Helper()
	if _, err := db.ExecContext(tb.Context(), statement, args...); err != nil {
		tb.Fatalf("%s: %v", statement, err)
	}
}

func count(tb testing.TB, db *sql.DB, query string, args ...any) (n int) {
	tb.Helper()
	if err := db.QueryRowContext(tb.Context(), query, args...).Scan(&n); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	return n
}

// column returns the first column of all rows.
func column(tb testing.TB, db *sql.DB, query string, args ...any) (values []string) {
	tb.Helper()
	rows, err := db.QueryContext(tb.Context(), query, args...)
	if err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			tb.Fatal(err)
		}
		values = append(values, value)
	}
	if err := rows.Err(); err != nil {
		tb.Fatal(err)
	}
	return values
}

// events is how many are stored. Each must have exactly one delivery, and there may be no other deliveries.
func events(tb testing.TB, db *sql.DB) int {
	tb.Helper()
	n := count(tb, db, "select count(*) from events")
	deliveries := count(tb, db, "select count(*) from event_deliveries")
	pairs := count(tb, db, `select count(*) from events e join event_deliveries d
		on d.id = e.id and d.event_id = e.id and d.org_id = e.org_id`)
	if deliveries != n || pairs != n {
		tb.Errorf("there are %d events, %d deliveries, %d of which belong together", n, deliveries, pairs)
	}
	return n
}
