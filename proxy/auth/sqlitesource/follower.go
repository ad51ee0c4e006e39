package sqlitesource

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"time"

	"keygate/proxy/auth"
)

const (
	// pollInterval is how often the file's version is looked at. A look takes microseconds: it reads shared memory.
	pollInterval = 20 * time.Millisecond
	// retryInterval is how long a file that cannot be read is left alone.
	retryInterval = 200 * time.Millisecond
)

// Follower tells of every change that is committed to the tables of a Source, whoever commits it. It remembers how far
// it has read from one Run to the next.
type Follower struct {
	source    *Source
	connected atomic.Bool

	// Run's own.
	position int64 // id of the last row delivered
	started  bool  // position means something
}

var _ auth.Changes = (*Follower)(nil)

// Follower returns a follower that has read nothing.
func (s *Source) Follower() *Follower { return &Follower{source: s} }

// Connected says whether changes are heard at present.
func (f *Follower) Connected() bool { return f.connected.Load() }

// Run implements auth.Changes. It runs once at a time.
func (f *Follower) Run(ctx context.Context, deliver func(auth.Change)) error {
	defer f.connected.Store(false)
	for ctx.Err() == nil {
		err := f.follow(ctx, deliver)
		if ctx.Err() == nil && f.connected.Swap(false) {
			f.source.config.Logger.Warn("changes of keys are not heard", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryInterval):
		}
	}
	return ctx.Err()
}

// follow reads on one connection: only there does data_version tell of commits of all others.
func (f *Follower) follow(ctx context.Context, deliver func(auth.Change)) error {
	db, err := f.source.open(ctx)
	if err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connecting to follow: %w", err)
	}
	defer conn.Close()
	deliver(auth.Change{Verb: auth.Demote, Scope: auth.Scope{All: true}})
	if !f.started {
		if err := f.begin(ctx, conn); err != nil {
			return err
		}
	}
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for version := int64(-1); ; {
		now, err := dataVersion(ctx, conn)
		if err != nil {
			return err
		}
		if now != version {
			if err := f.advance(ctx, conn, deliver); err != nil {
				return err
			}
			version = now
			f.connected.Store(true)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

func dataVersion(ctx context.Context, conn *sql.Conn) (version int64, err error) {
	if err := conn.QueryRowContext(ctx, "pragma data_version").Scan(&version); err != nil {
		return 0, fmt.Errorf("reading the file's version: %w", err)
	}
	return version, nil
}

// begin goes as far back as a shared cache may hold what was filled while nobody followed.
func (f *Follower) begin(ctx context.Context, conn *sql.Conn) error {
	since := time.Now().Add(-f.source.config.Replay).UnixMilli()
	err := conn.QueryRowContext(ctx,
		`
select coalesce((select min(id) - 1 from keygate_changes where changed_at >= $1), (select max(id) from keygate_changes), 0)`,
		since).Scan(&f.position)
	if err != nil {
		return fmt.Errorf("finding where to begin: %w", err)
	}
	f.started = true
	return nil
}

// advance delivers what has been committed since. Ids have no gaps: where the log goes on later than with the next one,
// rows were pruned before they were read, and everything is in doubt.
func (f *Follower) advance(ctx context.Context, conn *sql.Conn, deliver func(auth.Change)) error {
	rows, err := conn.QueryContext(ctx, "select id, prefix from keygate_changes where id >= $1 order by id", f.position)
	if err != nil {
		return fmt.Errorf("reading the change log: %w", err)
	}
	defer rows.Close()
	for first := true; rows.Next(); first = false {
		var id int64
		var prefix sql.NullString
		if err := rows.Scan(&id, &prefix); err != nil {
			return fmt.Errorf("reading a change: %w", err)
		}
		if first && id > f.position+1 {
			deliver(auth.Change{Verb: auth.Demote, Scope: auth.Scope{All: true}})
		}
		if id > f.position {
			deliver(change(prefix))
			f.position = id
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading the change log: %w", err)
	}
	return nil
}

func change(prefix sql.NullString) auth.Change {
	c := auth.Change{Verb: auth.Remove}
	if prefix.Valid {
		c.Prefixes = []string{prefix.String}
	} else {
		c.All = true
	}
	return c
}
