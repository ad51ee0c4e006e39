package pgsource

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"keygate/proxy/auth"
)

var _ auth.Changes = (*Follower)(nil)

const (
	// The floor under the promise: what no notification announces is seen a second later.
	pollInterval = time.Second
	minBackoff   = 50 * time.Millisecond
	maxBackoff   = 2 * time.Second
	// A change of more prefixes than this is delivered in parts, each of which is applied and evicted at once.
	maxPrefixes = 1000
)

// Follower delivers what triggers have logged. Run may be called once at a time.
type Follower struct {
	source    *Source
	connected atomic.Bool

	// Owned by Run, which keeps them from one connection to the next.
	at   position
	told told
	lost bool // it was logged that the log is not followed
	deaf bool // it was logged that notifications do not arrive
}

// Follower returns a follower of the log of this source's database.
func (s *Source) Follower() *Follower { return &Follower{source: s} }

// Connected says whether the log is being followed.
func (f *Follower) Connected() bool { return f.connected.Load() }

// Run follows the log until ctx ends. After each connection it delivers a demotion of all, then what it has not
// delivered yet.
func (f *Follower) Run(ctx context.Context, deliver func(auth.Change)) error {
	for backoff := minBackoff; ; backoff = min(2*backoff, maxBackoff) {
		err := f.follow(ctx, deliver)
		if f.connected.Swap(false) {
			backoff = minBackoff
		}
		f.source.config.Metrics.connected.Set(0)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.source.config.Metrics.lost.Inc()
		if !f.lost {
			f.lost = true
			f.source.config.Logger.Warn("the change log cannot be followed; trying again", "error", err)
		}
		if !sleep(ctx, backoff/2+rand.N(backoff)) {
			return ctx.Err()
		}
	}
}

// follow works on one connection until that fails.
func (f *Follower) follow(ctx context.Context, deliver func(auth.Change)) error {
	l, err := f.source.dial(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	if err := f.hear(ctx, l); err != nil {
		return err
	}
	if err := f.resume(ctx, l, deliver); err != nil {
		return err
	}
	for {
		if !l.woken {
			if err := l.wait(ctx, pollInterval); err != nil {
				return err
			}
		}
		l.woken = false // before the read: what is notified from now on may not be in it
		if err := f.advance(ctx, l, deliver); err != nil {
			return err
		}
	}
}

// hear logs, once, if notifications do not arrive. The log is followed all the same.
func (f *Follower) hear(ctx context.Context, l *line) error {
	err := f.source.prove(ctx, l)
	if !errors.Is(err, ErrDeaf) {
		f.deaf = false
		return err
	}
	if !f.deaf {
		f.deaf = true
		f.source.config.Logger.Error("changes of keys are seen up to a second late", "error", err)
	}
	return nil
}

// resume delivers what was committed while nobody was listening.
func (f *Follower) resume(ctx context.Context, l *line, deliver func(auth.Change)) error {
	last := f.at
	found, err := f.read(ctx, l, f.at.lookBack(f.source.config.Replay))
	if err == nil && found.rewound {
		f.at, f.told = position{}, nil
		found, err = f.read(ctx, l, f.at.lookBack(f.source.config.Replay))
	}
	if err != nil {
		return err
	}
	found.forgetLags(last)
	deliver(auth.Change{Verb: auth.Demote, Scope: auth.Scope{All: true}})
	f.pass(found, deliver)
	f.connected.Store(true)
	f.source.config.Metrics.connected.Set(1)
	if f.lost {
		f.lost = false
		f.source.config.Logger.Info("the change log is followed again")
	}
	return nil
}

// advance delivers what has become visible since the last read.
func (f *Follower) advance(ctx context.Context, l *line, deliver func(auth.Change)) error {
	found, err := f.read(ctx, l, nil)
	if err != nil {
		return err
	}
	if found.rewound || found.position.clock-f.at.clock > pruneDoubt.Seconds() {
		f.source.config.Metrics.doubts.Inc()
		f.source.config.Logger.Warn("changes of keys may have been missed: the log went back or was long unread")
		return f.resume(ctx, l, deliver)
	}
	f.pass(found, deliver)
	return nil
}

// pass delivers what was read, and moves on.
func (f *Follower) pass(found news, deliver func(auth.Change)) {
	f.at = found.position
	f.told.add(found)
	for _, seconds := range found.lags {
		f.source.config.Metrics.lag.Observe(seconds)
	}
	since := found.since()
	if found.all {
		deliver(auth.Change{Verb: auth.Remove, Scope: auth.Scope{All: true}, Since: since})
		return
	}
	for rest := found.prefixes; len(rest) > 0; {
		n := min(len(rest), maxPrefixes)
		deliver(auth.Change{Verb: auth.Remove, Scope: auth.Scope{Prefixes: rest[:n:n]}, Since: since})
		rest = rest[n:]
	}
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
