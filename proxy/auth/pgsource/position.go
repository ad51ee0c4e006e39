package pgsource

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// How long the triggers keep a row at least, from its commit on.
	retention = time.Hour
	// With less than this between two reads, nothing can have been removed between them.
	pruneDoubt = retention / 2
	// After a lost connection another server may answer, or the same one after a crash, which has lost its latest
	// commits and given their transaction ids to others. What it has logged in this time is read again, and delivered unless
	// it was.
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
	seen     map[string]bool // what prefixes holds
	rows     []rowID
	lags     []float64 // seconds
}

// forgetLags leaves out what is read again, or for the first time by a proxy that has just started: the time since it
// changed says nothing about how soon changes are heard.
func (n *news) forgetLags(last position) {
	n.lags = slices.DeleteFunc(n.lags, func(seconds float64) bool {
		return last.snapshot == "" || seconds > n.position.readAt.Sub(last.readAt).Seconds()
	})
}

// since is when the oldest of the changes was made. What the clocks of this machine and the database differ by does not
// count; the way of the question does, so that it is rather too early.
func (n *news) since() time.Time {
	if len(n.lags) == 0 {
		return time.Time{}
	}
	return n.position.readAt.Add(-time.Duration(slices.Max(n.lags) * float64(time.Second)))
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
       coalesce(extract(epoch from c.changed_at), 0)::float8, c.prefix, c.org_id
from (select pg_current_snapshot() as snapshot) s
left join keygate_changes c on c.txid >= pg_snapshot_xmax($1::text::pg_snapshot)
    or c.txid = any (array(select pg_snapshot_xip($1::text::pg_snapshot)))
    or c.changed_at > now() - make_interval(secs => $2)
limit $3`

// row is one row of the log.
type row struct {
	id            *int64
	lag, madeAt   float64
	prefix, orgID *string // neither: every prefix
}

func (f *Follower) read(ctx context.Context, l *line, lookBack *float64) (news, error) {
	timeout := readTimeout
	var told map[rowID]bool
	if lookBack != nil {
		timeout, told = resumeTimeout, f.told.set()
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	snapshot := &f.at.snapshot
	if *snapshot == "" {
		snapshot = nil
	}
	found := news{position: position{readAt: time.Now()}, seen: map[string]bool{}}
	var (
		r    row
		orgs []string
	)
	into := []any{
		&found.position.snapshot, &found.position.clock, &found.rewound,
		&r.id, &r.lag, &r.madeAt, &r.prefix, &r.orgID,
	}
	rows, _ := l.Query(ctx, readText, snapshot, lookBack, maxRows+1) // its error is that of ForEachRow
	tag, err := pgx.ForEachRow(rows, into, func() error {
		if r.id == nil || told[rowID{*r.id, r.madeAt}] {
			return nil
		}
		switch {
		case r.prefix != nil:
			found.add(*r.prefix)
		case r.orgID != nil:
			orgs = append(orgs, *r.orgID)
		default:
			found.all = true
		}
		found.rows = append(found.rows, rowID{*r.id, r.madeAt})
		found.lags = append(found.lags, r.lag)
		return nil
	})
	if err != nil {
		return news{}, fmt.Errorf("reading the change log: %w", err)
	}
	found.all = found.all || tag.RowsAffected() > maxRows
	if len(orgs) > 0 && !found.all && f.source.config.KeyQuery == "" {
		err = expand(ctx, l, orgs, &found)
	}
	return found, err
}

// expand adds the prefixes of organisations as they are now, which is not before the organisations changed. It is a query
// of its own, because joined to the first it could cost a walk through all keys each second.
func expand(ctx context.Context, l *line, orgs []string, found *news) error {
	rows, _ := l.Query(ctx, "select prefix from api_keys where org_id = any ($1) limit $2", orgs, maxRows+1)
	var prefix string
	tag, err := pgx.ForEachRow(rows, []any{&prefix}, func() error {
		found.add(prefix)
		return nil
	})
	if err != nil {
		return fmt.Errorf("listing the prefixes of changed organisations: %w", err)
	}
	found.all = found.all || tag.RowsAffected() > maxRows
	return nil
}

func (n *news) add(prefix string) {
	if !n.seen[prefix] {
		n.seen[prefix] = true
		n.prefixes = append(n.prefixes, prefix)
	}
}
