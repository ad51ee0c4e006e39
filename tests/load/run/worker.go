package run

import (
	"context"
	"os"
	"sync/atomic"
	"time"

	"keygate/tests/load/hist"
	"keygate/tests/load/traffic"
	"keygate/tests/load/wire"
)

// After a refused connection a worker waits, doubling: a server that is down costs no processor time.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = 250 * time.Millisecond
	// A worker with requests this far apart reports each at once: the progress shown would lag behind otherwise.
	seldom = 100 * time.Millisecond
	// A connection that is not made by now is a failure; loopback answers or refuses within microseconds.
	dialTimeout = 5 * time.Second
)

// worker is one connection and what it has seen. All of it belongs to the goroutine of the phase, but for done and
// failed, which others may read.
type worker struct {
	runner  *Runner
	address string
	source  *traffic.Source
	conn    *wire.Conn // nil while there is none
	pause   time.Duration

	tally  tally
	window hist.Slot     // what finished since the last visit to the timeline
	since  time.Duration // a moment inside that window
	until  time.Duration // when the next visit is due
	lag    *hist.Hist    // open loop only: how late an idle worker was, which is the generator's own fault

	done, failed atomic.Int64
}

func newWorker(r *Runner, index int) *worker {
	plan := &r.plan
	return &worker{
		runner: r, address: plan.Addresses[index%len(plan.Addresses)],
		source: traffic.NewSource(plan.Shape, plan.Keys, plan.Repeat, index, plan.Connections),
	}
}

// work runs one phase.
func (w *worker) work(p *phase) {
	w.tally, w.lag, w.since, w.until = tally{}, nil, 0, 0
	w.done.Store(0)
	w.failed.Store(0)
	if p.arrivals != nil {
		w.lag = &hist.Hist{}
		w.openLoop(p)
	} else {
		w.closedLoop(p)
	}
	w.report(p, w.since)
}

func (w *worker) closedLoop(p *phase) {
	now := p.now()
	for p.wants(now) {
		now = w.request(p, now, now)
	}
}

func (w *worker) openLoop(p *phase) {
	for {
		intended, early, ok := p.arrivals.take(p.ctx, p.start)
		if !ok {
			return
		}
		now := p.now()
		if early {
			w.lag.Record(now - intended)
		}
		if now-intended > w.runner.plan.Timeout { // its client would have given up before a connection came free
			w.record(p, intended, now, judge(wire.Reply{}, os.ErrDeadlineExceeded, w.runner.plan.Shape.Batch))
			continue
		}
		w.request(p, intended, now)
	}
}

// request makes one request whose latency counts from intended, and returns when it was over.
func (w *worker) request(p *phase, intended, now time.Duration) time.Duration {
	message := w.source.Next(w.runner.next.Add(1) - 1)
	at := p.start.Add(now)
	if w.conn != nil && !w.conn.Usable(at) {
		w.hangUp()
	}
	if w.conn == nil {
		if err := w.dial(p.ctx); p.ctx.Err() != nil {
			return p.now() // told to stop, not refused
		} else if err != nil {
			w.record(p, intended, p.now(), judge(wire.Reply{}, err, w.runner.plan.Shape.Batch))
			w.rest(p.ctx)
			return p.now()
		}
	}
	reply, err := w.conn.Exchange(message, at)
	end := p.now()
	w.record(p, intended, end, judge(reply, err, w.runner.plan.Shape.Batch))
	if err != nil {
		w.hangUp()
	}
	return end
}

func (w *worker) record(p *phase, intended, end time.Duration, o outcome) {
	if end >= w.until {
		w.report(p, end)
	}
	gap := end - w.since
	w.since = end
	if o.measured() {
		w.window.Latency.Record(end - intended)
	}
	if o.ok {
		w.done.Add(1)
	} else {
		w.window.Failed++
		w.failed.Add(1)
	}
	w.tally.add(o)
	if gap > seldom {
		w.report(p, end)
	}
}

// report brings the window to the timeline and opens the next one.
func (w *worker) report(p *phase, now time.Duration) {
	w.until = p.timeline.Add(&w.window, w.since, now)
	w.window.Reset()
}

func (w *worker) dial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := wire.Dial(ctx, w.address, w.runner.plan.Timeout)
	if err == nil {
		w.conn, w.pause = conn, 0
	}
	return err
}

func (w *worker) hangUp() {
	if w.conn != nil {
		w.conn.Close() // nothing that could still be lost: the exchange on it is over or has failed
		w.conn = nil
	}
}

func (w *worker) rest(ctx context.Context) {
	w.pause = min(max(2*w.pause, firstPause), lastPause)
	timer := time.NewTimer(w.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
