package sqlitesource

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"time"

	"keygate/proxy/auth"
)

var _ auth.Changes = (*Follower)(nil)

const (
	// SQLite wakes nobody. A look at the counter takes 15 µs (BenchmarkPoll), so this is 0.15 % of one processor.
	pollInterval = 10 * time.Millisecond
	// How long a file that cannot be read is left alone.
	retryInterval = 200 * time.Millisecond
	// How long the trigger keeps a row at least.
	retention = time.Hour
	// A change of more prefixes than this is delivered in parts, each of which is applied and evicted at once.
	maxPrefixes = 1000
	// If more changed than this, everything did: it is about a tenth of a second to read.
	maxRows = 100_000
)

// Follower delivers what triggers have logged. Run may be called once at a time.
type Follower struct {
	source    *Source
	connected atomic.Bool

	// Owned by Run, which keeps them from one connection to the next.
	at      int64 // id of the row read last; SQLite gives ids in the order of commits and without gaps
	started bool  // at means something
	lost    bool  // it was logged that the log is not followed
}

// Follower returns a follower of this source's log.
func (s *Source) Follower() *Follower { return &Follower{source: s} }

// Connected says whether the log is being followed.
func (f *Follower) Connected() bool { return f.connected.Load() }

// Run follows the log until ctx ends. After each connection it delivers a demotion of all, then what it has not
// delivered yet.
func (f *Follower) Run(ctx context.Context, deliver func(auth.Change)) error {
	for {
		err := f.follow(ctx, deliver)
		f.connected.Store(false)
		f.source.config.Metrics.following(false)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.source.config.Metrics.losing()
		if !f.lost {
			f.lost = true
			f.source.config.Logger.Warn("the change log cannot be followed; trying again", "error", err)
		}
		if !sleep(ctx, retryInterval) {
			return ctx.Err()
		}
	}
}

// follow works on one connection until that fails: only there does the counter tell of the commits of all others.
func (f *Follower) follow(ctx context.Context, deliver func(auth.Change)) error {
	opened, err := f.source.opened(ctx)
	if err != nil {
		return err
	}
	conn, err := opened.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connecting to follow: %w", err)
	}
	defer conn.Close()
	counter, err := conn.PrepareContext(ctx, "pragma data_version")
	if err != nil {
		return fmt.Errorf("preparing to follow: %w", err)
	}
	defer counter.Close()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for seen := int64(-1); ; {
		var version int64
		if err := counter.QueryRowContext(ctx).Scan(&version); err != nil {
			return fmt.Errorf("reading the counter of commits: %w", err)
		}
		if version != seen { // read before the log, so that a commit between the two is seen next time
			if err := f.advance(ctx, conn, deliver); err != nil {
				return err
			}
			seen = version
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// advance delivers what has been committed since the last read.
func (f *Follower) advance(ctx context.Context, conn *sql.Conn, deliver func(auth.Change)) error {
	found, err := f.read(ctx, conn)
	if err != nil {
		return err
	}
	first := !f.connected.Swap(true)
	if first || found.doubt {
		deliver(auth.Change{Verb: auth.Demote, Scope: auth.Scope{All: true}})
	}
	switch {
	case first:
		f.source.config.Metrics.following(true)
		if f.lost {
			f.lost = false
			f.source.config.Logger.Info("the change log is followed again")
		}
	case found.doubt:
		f.source.config.Metrics.doubting()
		f.source.config.Logger.Warn("changes of keys may have been missed: the log went back or was long unread")
	}
	f.at, f.started = found.last, true
	if found.all {
		deliver(auth.Change{Verb: auth.Remove, Scope: auth.Scope{All: true}, Since: found.since})
		return nil
	}
	for rest := found.prefixes; len(rest) > 0; {
		n := min(len(rest), maxPrefixes)
		deliver(auth.Change{Verb: auth.Remove, Scope: auth.Scope{Prefixes: rest[:n:n]}, Since: found.since})
		rest = rest[n:]
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
