package sqlitesource

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// news is what one read of the log found.
type news struct {
	last     int64 // id of the newest row
	doubt    bool  // the log went back, or rows were pruned before they were read
	all      bool
	prefixes []string
	since    time.Time // when the first of the changes was made; zero if they may have been read before
}

// read returns what was logged since the last read; the first time, and if the log went back, in the time of Replay.
func (f *Follower) read(ctx context.Context, conn *sql.Conn) (found news, err error) {
	var last int64
	if err := conn.QueryRowContext(ctx, "select coalesce(max(id), 0) from keygate_changes").Scan(&last); err != nil {
		return news{}, fmt.Errorf("reading the end of the change log: %w", err)
	}
	after, since := f.at, int64(0)
	if !f.started || last < f.at {
		after, since = 0, time.Now().Add(-min(f.source.config.Replay, retention)).UnixMilli()
	}
	found = news{last: last, doubt: f.started && last < f.at}
	if last == after { // the commit was about something else, such as an event
		return found, nil
	}
	rows, err := conn.QueryContext(ctx, "select id, changed_at, prefix from keygate_changes "+
		"where id > $1 and changed_at >= $2 order by id limit $3", after, since, maxRows+1)
	if err != nil {
		return news{}, fmt.Errorf("reading the change log: %w", err)
	}
	defer rows.Close()
	now, seen := time.Now(), map[string]bool{}
	next := after + 1
	for n := 1; rows.Next(); n++ {
		var id, changedAt int64
		var prefix sql.NullString
		if err := rows.Scan(&id, &changedAt, &prefix); err != nil {
			return news{}, fmt.Errorf("reading a change: %w", err)
		}
		if made := time.UnixMilli(changedAt); since == 0 { // else it may have been read before
			f.source.config.Metrics.reading(now.Sub(made).Seconds())
			if found.since.IsZero() {
				found.since = made
			}
		}
		found.last = max(found.last, id)
		found.doubt = found.doubt || since == 0 && id != next
		found.all = found.all || !prefix.Valid || n > maxRows
		if next = id + 1; prefix.Valid && !seen[prefix.String] {
			seen[prefix.String] = true
			found.prefixes = append(found.prefixes, prefix.String)
		}
	}
	if err := rows.Err(); err != nil {
		return news{}, fmt.Errorf("reading the change log: %w", err)
	}
	return found, nil
}
