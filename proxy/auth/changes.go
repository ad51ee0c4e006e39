package auth

import (
	"context"
	"sync"
	"time"
)

// Heard applies a change that the shared cache itself tells of: its entries are already what they should be.
func (r *Resolver) Heard(c Change) {
	r.Metrics.changed(c.Verb)
	switch {
	case c.Verb == Look:
		for _, prefix := range c.Prefixes {
			r.gens.look([]byte(prefix))
			r.leases.wake(prefix)
			n := r.gens.note([]byte(prefix))
			if e := r.copyOf([]byte(prefix), n); e != nil && e.note().looks != n.looks {
				r.flights.recheck(prefix)
			}
		}
	case c.Verb == Demote:
		r.doubt()
	case c.All:
		r.gens.removeAll()
	default:
		for _, prefix := range c.Prefixes {
			r.gens.remove([]byte(prefix))
			r.bury([]byte(prefix))
			r.leases.wake(prefix)
		}
	}
}

// Changed applies a change of the truth: what is removed here is evicted from the shared cache too. Until the shared
// cache has answered, this proxy does not read the prefixes from there.
func (r *Resolver) Changed(c Change) {
	if c.Verb == Remove && r.Cache != nil {
		r.evicts.add(c.Scope)
	}
	r.Heard(c)
	if !c.Since.IsZero() {
		r.Metrics.revoked(ChangeLog, time.Since(c.Since), c.Scope)
	}
}

// Run does in the background what no request waits for, until ctx ends, whose error it returns.
func (r *Resolver) Run(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(func() { r.probe(ctx) })
	if r.Cache != nil {
		group.Go(func() { r.evict(ctx) })
	}
	group.Wait()
	return ctx.Err()
}

// evict takes what the truth changed out of the shared cache, again and again until it answers.
func (r *Resolver) evict(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.evicts.added:
		}
		for round, more := r.evicts.next(); more; round, more = r.evicts.next() {
			if err := r.Cache.Evict(ctx, round.scope()); err == nil {
				r.evicts.done(round)
			} else if !pause(ctx, evictRetry) {
				return
			}
		}
	}
}

// A tenth of a second: other proxies that hear nothing of the source read the old record until then.
const evictRetry = 100 * time.Millisecond

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
