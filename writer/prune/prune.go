// Package prune removes old events with their deliveries, a page at a time, while the writer goes on writing.
package prune

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"keygate/shared/database"
	"keygate/shared/uuid7"
)

// Config says what to remove.
type Config struct {
	Before         time.Time // events created earlier
	IncludePending bool      // also those whose delivery is still pending
	// Progress is called after every page.
	Progress func(Tally)
}

// Tally counts what has been looked at and what has been removed.
type Tally struct{ Seen, Removed int }

// A page of a thousand events is one short transaction: claims of deliveries wait for it a few milliseconds at most.
const pageRows = 1000

// cursor is the last row of a page, in the order of the primary key.
type cursor struct{ id, org string }

// Run removes page by page until no old event is left, or ctx ends. Each page is durable when the next begins, so that
// a run that was broken off is resumed by running again. It walks the primary key: ids sort by their millisecond.
func Run(ctx context.Context, db *database.DB, cfg Config) (Tally, error) {
	page := postgresPage
	if db.Dialect == database.SQLite {
		page = sqlitePage
	}
	end := lowest(cfg.Before)
	var tally Tally
	for at := (cursor{id: lowest(time.UnixMilli(0))}); ; {
		last, seen, removed, err := page(ctx, db.DB, at, end, cfg.IncludePending)
		if err != nil {
			return tally, fmt.Errorf("removing a page of events: %w", err)
		}
		tally.Seen += seen
		tally.Removed += removed
		if seen > 0 {
			cfg.Progress(tally)
		}
		if seen < pageRows {
			return tally, nil
		}
		at = last
	}
}

// lowest is the text of the smallest id of a millisecond.
func lowest(t time.Time) string {
	id := uuid7.Mint(t)
	clear(id[9:])
	id[8] = 0x80
	return id.String()
}

// postgresPage removes a page by one statement. A page whose events are all spared still moves the cursor on.
func postgresPage(ctx context.Context, db *sql.DB, at cursor, end string, includePending bool) (
	last cursor, seen, removed int, err error,
) {
	const statement = `
with page as (
    select id, org_id from events
    where (id, org_id) > ($1::uuid, $2::text collate "C") and id < $3::uuid
    order by id, org_id limit $4
), doomed as (
    select id, org_id from page p where $5 or not exists (
        select from event_deliveries d where d.id = p.id and d.org_id = p.org_id and d.status = 'pending')
), deliveries as (
    delete from event_deliveries d using doomed x where d.id = x.id and d.org_id = x.org_id
), gone as (
    delete from events e using doomed x where e.id = x.id and e.org_id = x.org_id returning 1
)
select (select count(*) from page), (select count(*) from gone), coalesce(l.id::text, ''), coalesce(l.org_id, '')
from (select 1) one left join lateral (select id, org_id from page order by id desc, org_id desc limit 1) l on true`
	err = db.QueryRowContext(ctx, statement, at.id, at.org, end, pageRows, includePending).
		Scan(&seen, &removed, &last.id, &last.org)
	return last, seen, removed, err
}

// sqlitePage does the same with the statements that SQLite has.
func sqlitePage(ctx context.Context, db *sql.DB, at cursor, end string, includePending bool) (
	last cursor, seen, removed int, err error,
) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return last, 0, 0, err
	}
	defer tx.Rollback()
	const within = `from events where (id, org_id) > ($1, $2) and id < $3 order by id, org_id limit $4`
	err = tx.QueryRowContext(ctx, `
select count(*), coalesce(max(id), ''), coalesce((select org_id from (select id, org_id `+within+`)
    order by id desc, org_id desc limit 1), '') from (select id `+within+`)`, at.id, at.org, end, pageRows).
		Scan(&seen, &last.id, &last.org)
	if err != nil || seen == 0 {
		return last, 0, 0, err
	}
	const doomed = `(id, org_id) in (
    select e.id, e.org_id from (select id, org_id ` + within + `) e where $5 or not exists (
        select 1 from event_deliveries d where d.id = e.id and d.org_id = e.org_id and d.status = 'pending'))`
	// The events go first: which deliveries are pending decides about both, and is still to be seen.
	result, err := tx.ExecContext(ctx, `delete from events where `+doomed, at.id, at.org, end, pageRows, includePending)
	if err != nil {
		return last, 0, 0, err
	}
	gone, err := result.RowsAffected()
	if err != nil {
		return last, 0, 0, err
	}
	_, err = tx.ExecContext(ctx, `
delete from event_deliveries where (id, org_id) > ($1, $2) and (id, org_id) <= ($3, $4)
    and not exists (select 1 from events e where e.id = event_deliveries.id and e.org_id = event_deliveries.org_id)`,
		at.id, at.org, last.id, last.org)
	if err != nil {
		return last, 0, 0, err
	}
	return last, seen, int(gone), tx.Commit()
}
