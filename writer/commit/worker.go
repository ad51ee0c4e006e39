package commit

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"keygate/shared/uuid7"
)

// A worker takes batches from the queue and makes attempts with a sink of its own. One goroutine has it.
type worker struct {
	sink      Sink
	callLimit time.Duration
	queue     *queue
	health    *health
	metrics   *metrics

	batch    []row              // in work; answered rows are zero
	space    space              // of the attempt
	finished []*request         // answered, but not yet told
	tally    [len(outcomes)]int // of answers not yet told
}

func newWorker(config Config, sink Sink, q *queue, h *health, m *metrics) worker {
	return worker{
		sink: sink, callLimit: config.CallLimit, queue: q, health: h, metrics: m,
		space: space{ids: make(map[uuid7.ID]struct{})},
	}
}

// take takes the next batch, if something waits, and puts it in order.
func (w *worker) take(limit int) bool {
	w.batch = w.queue.take(w.batch[:0], load{limit, maxBatchBytes})
	slices.SortFunc(w.batch, inLockOrder)
	return len(w.batch) > 0
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

// What a call gets even if the first of its events is due, and so how late an answer may come.
const leastCallTime = time.Second

// callTime is for how long the sink may be asked: until the first event of the batch is due.
func (w *worker) callTime() time.Duration {
	limit, now := w.callLimit, time.Now()
	for i := range w.batch {
		if r := &w.batch[i]; r.waits() {
			limit = min(limit, r.request.deadline.Sub(now))
		}
	}
	return max(limit, leastCallTime)
}

// answer leaves nothing of the row, so that its event is not kept.
func (w *worker) answer(r *row, answer Answer) {
	r.request.answers[r.index] = answer
	w.tally[answer.Outcome]++
	if r.request.left.Add(-1) == 0 {
		w.finished = append(w.finished, r.request)
	}
	*r = row{}
}

// deliver tells the requests that have all their answers. What they held is free by then.
func (w *worker) deliver() {
	if w.tally == [len(outcomes)]int{} {
		return
	}
	w.health.countEvents(&w.tally)
	w.queue.release(w.finished)
	for _, r := range w.finished {
		close(r.done)
	}
	clear(w.finished)
	w.finished, w.tally = w.finished[:0], [len(outcomes)]int{}
}
