package commit

import (
	"errors"
	"sync"
	"time"
)

// Stats is what a Committer has done, and how it is.
type Stats struct {
	QueueRows  int               `json:"queue_rows"` // admitted and not yet answered
	QueueBytes int               `json:"queue_bytes"`
	Events     map[string]uint64 `json:"events"`  // by outcome; queue_full and closed for those not admitted
	Inserts    uint64            `json:"inserts"` // calls of the sink, failed ones too; on Postgres each is one statement
	Finds      uint64            `json:"finds"`
	Batches    uint64            `json:"batches"`          // inserted without an error
	MeanRows   float64           `json:"mean_rows"`        // of those batches
	LastOK     time.Time         `json:"last_ok,omitzero"` // when the sink last answered without an error
	Outage     *Outage           `json:"outage,omitempty"`
}

// Outage is a time in which the sink has only failed, and which has not ended.
type Outage struct {
	Since time.Time `json:"since"`
	Cause string    `json:"cause"`
	Error string    `json:"error"` // the latest
}

// Stats returns a snapshot.
func (c *Committer) Stats() Stats {
	held, counts := c.queue.load(), c.health.snapshot()
	stats := Stats{
		QueueRows:  held.rows,
		QueueBytes: held.bytes,
		Events:     make(map[string]uint64),
		Inserts:    counts.inserts,
		Finds:      counts.finds,
		Batches:    counts.batches,
		MeanRows:   float64(counts.rows) / float64(max(counts.batches, 1)),
		LastOK:     counts.lastOK,
		Outage:     counts.outage,
	}
	for outcome, n := range counts.events {
		if n > 0 {
			stats.Events[Outcome(outcome).String()] = n
		}
	}
	return stats
}

// Ready reports whether events can be expected to be stored: the sink has answered once, and is not in an outage that
// has lasted longer than events are tried.
func (c *Committer) Ready() bool {
	now := c.health.snapshot()
	return !now.lastOK.IsZero() && (now.outage == nil || time.Since(now.outage.Since) < c.config.RideOut)
}

// A call is one call of the sink.
type call struct {
	find bool
	rows int
	err  error
}

// health is what calls of the sink have shown, and what their answers have come to.
type health struct {
	mu     sync.Mutex // held for a few assignments
	counts counts
}

type counts struct {
	inserts, finds uint64
	batches, rows  uint64
	events         [len(outcomes)]uint64
	failures       [len(causes)]uint64
	lastOK         time.Time
	outage         *Outage // replaced, never changed
}

func (h *health) snapshot() counts {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts
}

func (h *health) countEvents(tally *[len(outcomes)]int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for outcome, n := range tally {
		h.counts.events[outcome] += uint64(n)
	}
}

func (h *health) countRefusal(err error, n int) {
	var tally [len(outcomes)]int
	if errors.Is(err, ErrQueueFull) {
		tally[queueFull] = n
	} else {
		tally[closed] = n
	}
	h.countEvents(&tally)
}

// countCall returns the outage before the call and the one after it.
func (h *health) countCall(done call) (before, after *Outage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before = h.counts.outage
	if done.find {
		h.counts.finds++
	} else {
		h.counts.inserts++
	}
	cause := CauseOf(done.err)
	switch {
	case done.err == nil:
		h.counts.lastOK, h.counts.outage = time.Now(), nil
		if !done.find && done.rows > 0 {
			h.counts.batches++
			h.counts.rows += uint64(done.rows)
		}
	case cause == Refused: // one event's fault, and the database has answered
		h.counts.failures[cause]++
	default:
		h.counts.failures[cause]++
		outage := Outage{Since: time.Now(), Cause: cause.String(), Error: done.err.Error()}
		if before != nil {
			outage.Since = before.Since
		}
		h.counts.outage = &outage
	}
	return before, h.counts.outage
}
