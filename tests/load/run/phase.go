package run

import (
	"context"
	"sync/atomic"
	"syscall"
	"time"

	"keygate/tests/load/hist"
)

// phase is one stretch of load: a warm-up or the measurement.
type phase struct {
	ctx      context.Context
	runner   *Runner
	limit    Limit
	timeline *hist.Timeline
	start    time.Time
	started  atomic.Int64 // requests begun; closed loop only
	arrivals *arrivals    // nil in a closed loop
}

// Result is what a phase measured.
type Result struct {
	Elapsed   time.Duration // from the start to the last answer
	Requests  int64
	OK        int64 // requests that were accepted whole
	Answered  int64 // requests that got any answer
	Events    int64 // in all requests
	Accepted  int64 // events
	Repeated  int64 // events that a batch's answer called duplicates
	Outcomes  map[string]int64
	Rejected  map[string]int64 // rejected events of batches, by code
	Timeline  *hist.Timeline
	Latency   *hist.Hist    // of the answered requests and of those that timed out
	Lag       *hist.Hist    // open loop: how late the generator itself was
	CPU       time.Duration // of this process
	Truncated bool          // it ended before its limit
}

func newPhase(ctx context.Context, r *Runner, limit Limit, timeline *hist.Timeline) *phase {
	p := &phase{ctx: ctx, runner: r, limit: limit, timeline: timeline, start: time.Now()}
	if limit.Rate > 0 {
		p.arrivals = newArrivals(limit)
	}
	return p
}

func (p *phase) now() time.Duration { return time.Since(p.start) }

// wants tells whether a closed loop is to begin another request.
func (p *phase) wants(now time.Duration) bool {
	if p.ctx.Err() != nil {
		return false
	}
	if p.limit.Duration > 0 {
		return now < p.limit.Duration
	}
	return p.started.Add(1) <= p.limit.Requests
}

// result adds up what the workers saw; they have all returned.
func (p *phase) result(cpu time.Duration) *Result {
	result := &Result{
		Timeline: p.timeline, Latency: &hist.Hist{}, Lag: &hist.Hist{}, CPU: cpu, Truncated: p.ctx.Err() != nil,
	}
	var sum tally
	for _, w := range p.runner.workers {
		sum.merge(&w.tally)
		if w.lag != nil {
			result.Lag.Merge(w.lag)
		}
		result.Elapsed = max(result.Elapsed, w.since)
	}
	slots, _ := p.timeline.Slots()
	for i := range slots {
		result.Latency.Merge(&slots[i].Latency)
	}
	result.Requests, result.OK, result.Answered = sum.requests, sum.ok, sum.answered
	result.Events, result.Accepted, result.Repeated = sum.events, sum.accepted, sum.repeated
	result.Outcomes, result.Rejected = sum.outcomes(), sum.rejected
	return result
}

// processCPU is the processor time that this process has used.
func processCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
