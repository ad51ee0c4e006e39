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

// health is what attempts have shown, and what their answers have come to.
type health struct {
	mu     sync.Mutex // held for a few assignments
	counts counts
}

type counts struct {
	inserts, finds uint64 // calls
	batches, rows  uint64 // inserted
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

func (h *health) countInsert(rows int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts.inserts++
	if err == nil && rows > 0 {
		h.counts.batches++
		h.counts.rows += uint64(rows)
	}
}

func (h *health) countFind() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts.finds++
}

// note returns the outage before an attempt and the one after it.
func (h *health) note(err error) (before, after *Outage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before = h.counts.outage
	if err == nil {
		h.counts.lastOK, h.counts.outage = time.Now(), nil
		return before, nil
	}
	cause := CauseOf(err)
	h.counts.failures[cause]++
	if cause == Refused { // one event's fault, and the database has answered
		return before, before
	}
	h.counts.outage = &Outage{Since: time.Now(), Cause: cause.String(), Error: err.Error()}
	if before != nil {
		h.counts.outage.Since = before.Since
	}
	return before, h.counts.outage
}
