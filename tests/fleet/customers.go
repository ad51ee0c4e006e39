package main

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"keygate/tests/load/hist"
	"keygate/tests/load/run"
	"keygate/tests/load/traffic"
)

// customers are clients with keys that work, on connections to every proxy.
type customers struct {
	runners []*run.Runner
}

// served is what customers saw.
type served struct {
	sent, passed int64
	outcomes     map[string]int64
	latency      hist.Hist
	lag          hist.Hist
	elapsed      time.Duration
}

// A connection of customers that waits for its turn sleeps in the kernel, and one of the runtime's processors with it.
var addProcessors = sync.OnceFunc(func() { runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2*fleetSize) })

// customers connects n of them to each proxy, who use the keys in turn.
func (f *fleet) customers(ctx context.Context, keys []key, n int) (*customers, error) {
	addProcessors()
	c := &customers{}
	for _, one := range f.proxies {
		runner, err := run.Open(ctx, run.Plan{
			Addresses: []string{one.addr}, Shape: traffic.Shape{Host: "fleet", Path: "/v1/events", Batch: 1},
			Keys: traffic.NewKeys(texts(keys), 0), Connections: n, Timeout: 10 * time.Second,
		})
		if err != nil {
			c.close()
			return nil, err
		}
		c.runners = append(c.runners, runner)
	}
	return c, nil
}

func (c *customers) close() {
	for _, r := range c.runners {
		r.Close()
	}
}

// load sends at a rate in all, 0 being as fast as answers come, until ctx ends or the duration is over.
func (c *customers) load(ctx context.Context, rate float64, duration time.Duration) *served {
	results := make([]*run.Result, len(c.runners))
	var all sync.WaitGroup
	for i, r := range c.runners {
		limit := run.Limit{Duration: duration, Rate: rate / float64(len(c.runners))}
		all.Go(func() { results[i] = r.Phase(ctx, limit, hist.NewTimeline()) })
	}
	all.Wait()
	sum := &served{outcomes: make(map[string]int64)}
	for _, r := range results {
		sum.sent, sum.passed = sum.sent+r.Requests, sum.passed+r.OK
		sum.latency.Merge(r.Latency)
		sum.lag.Merge(r.Lag)
		sum.elapsed = max(sum.elapsed, r.Elapsed)
		for name, n := range r.Outcomes {
			sum.outcomes[name] += n
		}
	}
	return sum
}

// meanwhile has customers send while something is done, and returns what they saw.
func (c *customers) meanwhile(ctx context.Context, rate float64, do func(context.Context) error) (*served, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var saw *served
	var all sync.WaitGroup
	all.Go(func() { saw = c.load(ctx, rate, time.Hour) })
	err := do(ctx)
	cancel()
	all.Wait()
	if err == nil && saw.passed == 0 {
		err = errors.New("no customer was served")
	}
	return saw, err
}
