package pgsource

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// How long the triggers keep a row at least, from its commit on.
	retention = time.Hour
	// With less than this between two reads, nothing can have been removed between them.
	pruneDoubt = retention / 2
	// After a lost connection another server may answer, or the same one after a crash, which has lost its latest
	// commits and given their transaction ids to others. What it has logged in this time is read again.
	overlap = time.Minute
	// A hundred thousand rows are read in a fifth of a second. If more changed at once, everything did.
	maxRows = 100_000
)

// position is how far the log has been read: up to a snapshot. A row is news if the transaction that wrote it was not
// visible to that snapshot, and is now. Thus a transaction that commits late is seen when it commits, and nobody waits
// for it.
type position struct {
	snapshot string    // pg_snapshot as text; empty before the first read
	clock    float64   // of the database, Unix seconds
	readAt   time.Time // here
}

// news is what one read found.
type news struct {
	position position
	rewound  bool // the snapshot read last lies in the future: another database, or a restored one
	all      bool
	prefixes []string
	lags     []float64 // seconds
}

// lookBack returns the seconds for which to read rows again at the beginning of a connection.
func (p position) lookBack(replay time.Duration) *float64 {
	seconds := min(replay, retention).Seconds()
	if p.snapshot != "" {
		seconds = min(time.Since(p.readAt)+overlap, retention).Seconds()
	}
	return &seconds
}

// The rows that were not visible to the snapshot $1, or were written in the last $2 seconds; both may be null. There is
// one row of nulls at least, for the new snapshot.
const readText = `
select s.snapshot::text, extract(epoch from clock_timestamp())::float8,
       coalesce(pg_snapshot_xmax(s.snapshot) < pg_snapshot_xmax($1::text::pg_snapshot), false),
       c.id, coalesce(extract(epoch from clock_timestamp() - c.changed_at), 0)::float8,
       c.prefix is null and c.org_id is null, %s
from (select pg_current_snapshot() as snapshot) s
left join keygate_changes c on c.txid >= pg_snapshot_xmax($1::text::pg_snapshot)
    or c.txid = any (array(select pg_snapshot_xip($1::text::pg_snapshot)))
    or c.changed_at > now() - make_interval(secs => $2)
%s
limit %d`

// With keygate's own tables a row may be about an organisation, whose keys are those of now.
var (
	readOwn = fmt.Sprintf(readText, "coalesce(c.prefix, k.prefix)",
		"left join api_keys k on k.org_id = c.org_id", maxRows+1)
	readForeign = fmt.Sprintf(readText, "c.prefix", "", maxRows+1)
)

func (f *Follower) read(ctx context.Context, l *line, lookBack *float64) (news, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	query, snapshot := readOwn, &f.at.snapshot
	if f.source.config.KeyQuery != "" {
		query = readForeign
	}
	if *snapshot == "" {
		snapshot = nil
	}
	var (
		found  = news{position: position{readAt: time.Now()}}
		row    logged
		lastID int64 // ids begin at 1
		seen   = map[string]bool{}
	)
	rows, _ := l.Query(ctx, query, snapshot, lookBack) // its error is that of ForEachRow
	tag, err := pgx.ForEachRow(rows, row.columns(&found), func() error {
		if row.id == nil {
			return nil
		}
		if lastID != *row.id {
			lastID = *row.id
			found.lags = append(found.lags, row.lag)
		}
		found.all = found.all || row.all
		if row.prefix != nil && !seen[*row.prefix] {
			seen[*row.prefix] = true
			found.prefixes = append(found.prefixes, *row.prefix)
		}
		return nil
	})
	if err != nil {
		return news{}, fmt.Errorf("reading the change log: %w", err)
	}
	found.all = found.all || tag.RowsAffected() > maxRows
	return found, nil
}

// logged is one row of the log, with a prefix of the organisation that it is about.
type logged struct {
	id     *int64
	lag    float64
	all    bool
	prefix *string
}

func (r *logged) columns(found *news) []any {
	return []any{&found.position.snapshot, &found.position.clock, &found.rewound, &r.id, &r.lag, &r.all, &r.prefix}
}
