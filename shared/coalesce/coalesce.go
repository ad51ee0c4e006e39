// Package coalesce lets those who come while a call is under way share the next one.
//
// One round trip for ten questions costs little more than one for a single question, in system calls, in wake-ups on both
// sides and in the server's own work. Nobody waits for company: while the server is quick and callers are few each call
// carries one item, and the busier everything is, the more of them go together.
package coalesce

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Limits of calls at once. Few must be at least 1, Most at least Few, and Items at least 1.
type Limits struct {
	Few   int // so many begin at once
	Items int // in one call
	// Those who have waited for Patience begin another call, unless there are Most: some call is slow. They go together, or
	// on a busy machine, where every call is slow, each would have one of its own. Only if Most is above Few.
	Most     int
	Patience time.Duration
}

// Over are the limits of calls over so many connections, with so many items in each. Two overlap, so that the server need
// not wait for the caller; where a call takes longer than two milliseconds, those who wait use another connection, if there
// is one.
func Over(connections, items int) Limits {
	return Limits{Few: min(2, connections), Most: connections, Items: items, Patience: 2 * time.Millisecond}
}

// Calls are calls of one kind. Safe for concurrent use. Close waits for those under way.
type Calls[T any] struct {
	call   func(items []T)
	limits Limits
	wg     sync.WaitGroup

	mu      sync.Mutex
	running int
	waiting []*waiter[T] // the oldest first
	timed   bool         // somebody's patience is
}

type waiter[T any] struct {
	item  T
	done  chan struct{}
	until time.Time // the end of its patience, if that is timed
}

// New returns calls that are made by call, each in a goroutine of its own. It may keep no items, and bounds itself in time.
func New[T any](call func(items []T), limits Limits) *Calls[T] {
	return &Calls[T]{call: call, limits: limits}
}

// Do has items be part of calls that begin after Do, and returns once these have ended. After an error, which is that of
// ctx, calls may still be using items.
func (c *Calls[T]) Do(ctx context.Context, items ...T) error {
	all := make([]*waiter[T], len(items))
	for i, item := range items {
		all[i] = &waiter[T]{item: item, done: make(chan struct{})}
	}
	c.join(all)
	for i, w := range all {
		select {
		case <-w.done:
		case <-ctx.Done():
			c.leave(all[i:])
			return ctx.Err()
		}
	}
	return nil
}

// join has all wait for calls, and begins one unless enough are under way.
func (c *Calls[T]) join(all []*waiter[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, all...)
	if c.running < c.limits.Few {
		c.running++
		c.wg.Go(func() {
			runtime.Gosched() // those who can run by now may come along
			c.make(c.next())
		})
		return
	}
	if c.limits.Most > c.limits.Few {
		until := time.Now().Add(c.limits.Patience)
		for _, w := range all {
			w.until = until
		}
		c.timeLocked()
	}
}

// timeLocked times the patience of who has waited longest. A timer for each would be set, and stopped again, for each item.
func (c *Calls[T]) timeLocked() {
	timed := func(w *waiter[T]) bool { return !w.until.IsZero() }
	if next := slices.IndexFunc(c.waiting, timed); next >= 0 && !c.timed {
		c.timed = true
		time.AfterFunc(time.Until(c.waiting[next].until), c.losePatience)
	}
}

// losePatience begins calls for those who have waited for too long.
func (c *Calls[T]) losePatience() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, late := time.Now(), 0
	for ; late < len(c.waiting) && !now.Before(c.waiting[late].until); late++ {
		c.waiting[late].until = time.Time{}
	}
	for late > 0 && c.running < c.limits.Most {
		together := c.takeLocked(late)
		late -= len(together)
		c.running++
		c.wg.Go(func() { c.make(together) })
	}
	c.timed = false
	c.timeLocked()
}

// leave has all wait no longer, but for those that are in a call by now.
func (c *Calls[T]) leave(all []*waiter[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = slices.DeleteFunc(c.waiting, func(w *waiter[T]) bool { return slices.Contains(all, w) })
}

// make makes calls until nobody waits.
func (c *Calls[T]) make(together []*waiter[T]) {
	for ; len(together) > 0; together = c.next() {
		items := make([]T, len(together))
		for i, w := range together {
			items[i] = w.item
		}
		c.call(items)
		for _, w := range together {
			close(w.done)
		}
	}
}

// next takes those who wait into a call, or ends.
func (c *Calls[T]) next() []*waiter[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	together := c.takeLocked(len(c.waiting))
	if len(together) == 0 {
		c.running--
	}
	return together
}

// takeLocked takes the first of those who wait, at most n and as many as go into a call.
func (c *Calls[T]) takeLocked(n int) []*waiter[T] {
	together := slices.Clone(c.waiting[:min(n, c.limits.Items)])
	c.waiting = slices.Delete(c.waiting, 0, len(together))
	return together
}

// Waiting is how many wait for a call that has not begun.
func (c *Calls[T]) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)
}

// Close waits for the calls under way, and for those who wait to have had theirs. Nobody may come any more.
func (c *Calls[T]) Close() { c.wg.Wait() }
