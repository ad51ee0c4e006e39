// Package commit turns single events into few large commits, and answers each request with the truth about its own rows.
//
// There is no timer: what gathers while one commit is in flight is the next batch, and an idle committer commits the
// first event at once. A second one joins only where it makes no batch smaller: batches gain half as much again by it,
// and single events nothing that could be told from noise. Three and four gained no more, and cost the database more for
// single events (two cores, 2026; docs/performance-writer.md).
//
// The package knows no SQL and no HTTP. What may go wrong is in the contract of Sink.
package commit

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keygate/writer/event"
)

// Defaults of Config.
const (
	DefaultQueueRows  = 16384
	DefaultQueueBytes = 64 << 20
	DefaultOrgShare   = 0.5
	DefaultMaxBatch   = 512
	DefaultRideOut    = 10 * time.Second
	DefaultCallLimit  = 6 * time.Second
)

// A batch is cut at this size in bytes, so that rows of megabytes do not make a statement of the whole queue.
const maxBatchBytes = 4 << 20

// Config says how a Committer works. Zero values mean the defaults.
type Config struct {
	Sink       Sink
	Second     Sink          // another of the same database, used while many events wait; nil: none
	QueueRows  int           // events admitted and not yet answered; more are refused at once
	QueueBytes int           // the same in bytes of their strings and payloads
	OrgShare   float64       // how much of both one organisation may hold, up to 1
	MaxBatch   int           // events in one commit
	RideOut    time.Duration // how long an event is tried, from its admission on
	CallLimit  time.Duration // of one call of the sink; somewhat longer than the sink's own limit for a statement
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: the metrics are counted, but not exported
}

func (c Config) withDefaults() Config {
	c.QueueRows = cmp.Or(c.QueueRows, DefaultQueueRows)
	c.QueueBytes = cmp.Or(c.QueueBytes, DefaultQueueBytes)
	c.OrgShare = cmp.Or(c.OrgShare, DefaultOrgShare)
	c.MaxBatch = cmp.Or(c.MaxBatch, DefaultMaxBatch)
	c.RideOut = cmp.Or(c.RideOut, DefaultRideOut)
	c.CallLimit = cmp.Or(c.CallLimit, DefaultCallLimit)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	return c
}

// Committer is a group commit in front of a sink. Run must be running for Submit to be answered.
type Committer struct {
	worker // Run's
	config Config
	limit  atomic.Int64 // rows of the next batch: Run halves it by overload, and has it grow back by success

	// The rest is Run's alone.
	failures int // calls that failed in a row
	suspects suspects
}

// New returns a Committer. It does no I/O.
func New(config Config) *Committer {
	config = config.withDefaults()
	limit := load{config.QueueRows, config.QueueBytes}
	share := load{int(float64(limit.rows) * config.OrgShare), int(float64(limit.bytes) * config.OrgShare)}
	q, h := newQueue(limit, share, config.MaxBatch/2), new(health)
	c := &Committer{
		worker:   newWorker(config, config.Sink, q, h, newMetrics(config.Registerer, q, h)),
		config:   config,
		suspects: make(suspects),
	}
	c.limit.Store(int64(config.MaxBatch))
	return c
}

// Submit commits events of one organisation and returns an answer for each, in their order. They are admitted together
// or not at all: after ErrQueueFull and ErrClosed, none of them is stored. The events are the committer's from now on.
//
// ctx bounds only the waiting: what was admitted is committed even if its caller has gone. Answers come soon after the
// ride-out at the latest, so a caller that wants them passes a ctx that does not end.
func (c *Committer) Submit(ctx context.Context, events []*event.Event) ([]Answer, error) {
	if len(events) == 0 {
		return nil, nil
	}
	r := &request{
		orgID:    events[0].OrgID,
		deadline: time.Now().Add(c.config.RideOut),
		done:     make(chan struct{}),
	}
	r.left.Store(int64(len(events)))
	if r.answers = r.one[:]; len(events) > 1 {
		r.answers = make([]Answer, len(events))
	}
	for _, e := range events {
		r.size = r.size.plus(load{1, e.Size()})
	}
	if err := c.queue.admit(r, events); err != nil {
		c.health.countRefusal(err, len(events))
		return nil, err
	}
	select {
	case <-r.done:
		return r.answers, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Run commits until ctx ends, and then what was admitted before. When it returns, every event has its answer, because
// none is tried for longer than the ride-out. It is called once.
func (c *Committer) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, c.queue.close)()
	c.probe()
	var helping sync.WaitGroup
	if c.config.Second != nil {
		helping.Go(func() { c.help(ctx) })
	}
	c.drain()
	helping.Wait()
	c.drain() // what the helper has put back
	return nil
}

// drain commits what waits, until the queue is closed and empty.
func (c *Committer) drain() {
	for !c.queue.drained() {
		if !c.take(int(c.limit.Load())) {
			c.idle()
			continue
		}
		first := c.suspects.behind(c.batch)
		c.settle(c.batch[:first])
		c.settle(c.batch[first:])
	}
}

// settle tries rows, a part of the batch, until each has its answer.
func (c *Committer) settle(rows []row) {
	for rows = c.remaining(rows); len(rows) > 0; rows = c.remaining(rows) {
		err := c.attempt(rows)
		c.observe(err)
		if err == nil {
			c.grow(len(rows))
			continue // with rows that had to wait for another one of the batch
		}
		switch cause := CauseOf(err); {
		case cause == Full:
			for i := range rows {
				c.giveUp(&rows[i], DiskFull)
			}
		case cause == Refused && len(rows) == 1:
			c.refuse(&rows[0], err)
		case cause == Refused:
			c.suspects.charge(rows)
			c.settleHalves(rows)
			return
		case cause == Overloaded && len(rows) > 1:
			c.limit.Store(int64(len(rows) / 2))
			c.backOff(cause)
			c.settleHalves(rows)
			return
		default:
			c.backOff(cause)
		}
	}
}

func (c *Committer) settleHalves(rows []row) {
	half := len(rows) / 2
	c.settle(rows[:half])
	c.settle(rows[half:])
}

// grow allows larger batches again after one of as many rows as were allowed.
func (c *Committer) grow(rows int) {
	if limit := int(c.limit.Load()); rows >= limit {
		c.limit.Store(int64(min(limit+limit/8+1, c.config.MaxBatch)))
	}
}
