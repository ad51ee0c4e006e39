// Package commit turns single events into few large commits, and answers each request with the truth about its own rows.
//
// There is no timer: what gathers while one commit is in flight is the next batch, and an idle committer commits the
// first event at once. One goroutine owns the sink, because on the machines measured (two cores, 2026) one committer
// beat two and four: larger batches were worth more than overlap.
//
// The package knows no SQL and no HTTP. What may go wrong is in the contract of Sink.
package commit

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keygate/shared/uuid7"
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
	config  Config
	queue   *queue
	health  health
	metrics *metrics

	// The rest is Run's.
	limit    int   // rows of the next batch: halved by overload, grown back by success
	failures int   // calls that failed in a row
	batch    []row // in work; answered rows are zero
	suspects suspects
	space    space              // of the attempt
	finished []*request         // answered, but not yet told
	tally    [len(outcomes)]int // of answers not yet told
}

// New returns a Committer. It does no I/O.
func New(config Config) *Committer {
	config = config.withDefaults()
	limit := load{config.QueueRows, config.QueueBytes}
	share := load{int(float64(limit.rows) * config.OrgShare), int(float64(limit.bytes) * config.OrgShare)}
	c := &Committer{
		config:   config,
		queue:    newQueue(limit, share),
		limit:    config.MaxBatch,
		suspects: make(suspects),
		space:    space{ids: make(map[uuid7.ID]struct{})},
	}
	c.metrics = newMetrics(config.Registerer, c.queue, &c.health)
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
		left:     len(events),
		done:     make(chan struct{}),
	}
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
	for !c.queue.drained() {
		c.batch = c.queue.take(c.batch[:0], load{c.limit, maxBatchBytes})
		if len(c.batch) == 0 {
			c.idle()
			continue
		}
		slices.SortFunc(c.batch, inLockOrder)
		first := c.suspects.behind(c.batch)
		c.settle(c.batch[:first])
		c.settle(c.batch[first:])
	}
	return nil
}

// settle tries rows, a part of the batch, until each has its answer.
func (c *Committer) settle(rows []row) {
	for rows = c.remaining(rows); len(rows) > 0; rows = c.remaining(rows) {
		err := c.attempt(rows)
		c.observe(err)
		if err == nil {
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
			c.limit = len(rows) / 2
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

// inLockOrder is the order in which all writers of one database take their locks.
func inLockOrder(a, b row) int {
	if a.OrgID != b.OrgID {
		return strings.Compare(a.OrgID, b.OrgID)
	}
	if a.DedupID != b.DedupID {
		return strings.Compare(a.DedupID, b.DedupID)
	}
	return bytes.Compare(a.ID[:], b.ID[:])
}
