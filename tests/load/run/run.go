// Package run drives the load: connections that each have one request in flight, in a closed loop (the next request
// when the last is answered) or an open one (requests at a constant rate, whatever the answers do).
package run

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"keygate/tests/load/hist"
	"keygate/tests/load/traffic"
)

// More than this at once overflows the listen backlog of ordinary servers, which then costs a second per connection.
const dialsAtOnce = 64

// Plan is where the load goes and what it is made of.
type Plan struct {
	Addresses   []string // host:port to connect to; several share the connections evenly
	Shape       traffic.Shape
	Keys        *traffic.Keys
	Repeat      float64 // share of repeated events
	Connections int
	Timeout     time.Duration // of one request
}

// Limit is how long a phase lasts: one of Requests and Duration is set.
type Limit struct {
	Requests int64
	Duration time.Duration
	Rate     float64 // requests a second; 0 is a closed loop
}

// Runner holds the open connections. Its phases share them, and the numbering of events.
type Runner struct {
	plan    Plan
	next    atomic.Int64 // number of the next request
	workers []*worker
}

// Open connects every connection, so that a phase measures requests only; the first refusal is its error.
func Open(ctx context.Context, plan Plan) (*Runner, error) {
	plan.Shape.Run = rand.Text()[:12]
	r := &Runner{plan: plan, workers: make([]*worker, plan.Connections)}
	for i := range r.workers {
		r.workers[i] = newWorker(r, i)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(dialsAtOnce)
	for _, w := range r.workers {
		group.Go(func() error { return w.dial(ctx) })
	}
	if err := group.Wait(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Phase applies load until the limit is reached or ctx ends, and waits for what is in flight. The timeline is filled
// while it runs.
func (r *Runner) Phase(ctx context.Context, limit Limit, timeline *hist.Timeline) *Result {
	p := newPhase(ctx, r, limit, timeline)
	before := processCPU()
	var group sync.WaitGroup
	for _, w := range r.workers {
		group.Go(func() { w.work(p) })
	}
	group.Wait()
	return p.result(processCPU() - before)
}

// Counts is how many requests of the current phase are over. It may be called while a phase runs.
func (r *Runner) Counts() (ok, failed int64) {
	for _, w := range r.workers {
		ok += w.done.Load()
		failed += w.failed.Load()
	}
	return ok, failed
}

// Close closes every connection.
func (r *Runner) Close() {
	for _, w := range r.workers {
		w.hangUp()
	}
}
