package commit

import (
	"context"
	"slices"
	"time"
)

// What the helper does not manage it leaves alone for so long.
const helpPause = time.Second

// help commits beside Run while half a batch and more waits for it, until ctx ends: then one commit uses the processor
// while the other one waits for the disk. Where fewer wait, they had better be one batch with those after them.
//
// A helper knows nothing of trouble. It stays away from a database that has any, and what it cannot answer goes back to
// the queue, for Run to try: a second connection that is not to be had harms nobody.
func (c *Committer) help(ctx context.Context) {
	w := newWorker(c.config, c.config.Second, c.queue, c.health, c.metrics)
	for failing := false; c.queue.hasMany(); {
		if !c.isWell() {
			pause(ctx, helpPause)
			continue
		}
		if !w.take(c.config.MaxBatch) {
			continue
		}
		err := w.attempt(w.batch)
		if rest := slices.DeleteFunc(w.batch, func(r row) bool { return !r.waits() }); len(rest) > 0 {
			c.queue.putBack(rest)
		}
		if err != nil {
			if !failing {
				c.config.Logger.Warn("committing on one connection alone: the second one fails", "error", err)
			}
			pause(ctx, helpPause)
		}
		failing = err != nil
	}
}

// isWell reports whether the database takes batches of any size.
func (c *Committer) isWell() bool {
	return c.health.snapshot().outage == nil && int(c.limit.Load()) == c.config.MaxBatch
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
