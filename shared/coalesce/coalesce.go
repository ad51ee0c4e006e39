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
	// Who has waited for Patience begins another call, alone, unless there are Most: some call is slow, and company would
	// have to wait for it. Only if Most is above Few.
	Most     int
	Patience time.Duration
}

// Over are the limits of calls over so many connections, with so many items in each. Two overlap, so that the server need
// not wait for the caller; where a call takes longer than two milliseconds, whoever waits has a connection of their own,
// if there is one.
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
}

type waiter[T any] struct {
	item T
	done chan struct{}
}

// New returns calls that are made by call, each in a goroutine of its own. It may keep no items, and bounds itself in time.
func New[T any](call func(items []T), limits Limits) *Calls[T] {
	return &Calls[T]{call: call, limits: limits}
}

// Do has item be part of a call that begins after Do, and returns once that has ended. After an error, which is that of
// ctx, the call may still be using the item.
func (c *Calls[T]) Do(ctx context.Context, item T) error {
	w := &waiter[T]{item, make(chan struct{})}
	if c.join(w) || c.limits.Most == c.limits.Few {
		return c.wait(ctx, w)
	}
	patience := time.NewTimer(c.limits.Patience)
	defer patience.Stop()
	select {
	case <-w.done:
		return nil
	case <-patience.C:
		c.goAlone(w)
	case <-ctx.Done():
	}
	return c.wait(ctx, w)
}

func (c *Calls[T]) wait(ctx context.Context, w *waiter[T]) error {
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		c.leaveLocked(w)
		return ctx.Err()
	}
}

// join has w wait for a call, and begins one unless enough are under way.
func (c *Calls[T]) join(w *waiter[T]) (begun bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, w)
	if c.running < c.limits.Few {
		c.running++
		c.wg.Go(func() {
			runtime.Gosched() // those who can run by now may come along
			c.make(c.next())
		})
		return true
	}
	return false
}

func (c *Calls[T]) goAlone(w *waiter[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running < c.limits.Most && c.leaveLocked(w) {
		c.running++
		c.wg.Go(func() { c.make([]*waiter[T]{w}) })
	}
}

func (c *Calls[T]) leaveLocked(w *waiter[T]) (waited bool) {
	at := slices.Index(c.waiting, w)
	if at < 0 {
		return false
	}
	c.waiting = slices.Delete(c.waiting, at, at+1)
	return true
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
	together := slices.Clone(c.waiting[:min(c.limits.Items, len(c.waiting))])
	c.waiting = slices.Delete(c.waiting, 0, len(together))
	if len(together) == 0 {
		c.running--
	}
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
