package commit

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"keygate/writer/event"
)

// A request is one call of Submit. Its answers are the committer's until done is closed, and the caller's from then on.
type request struct {
	orgID    string
	size     load
	deadline time.Time
	answers  []Answer
	one      [1]Answer    // the usual answers
	left     atomic.Int64 // rows without an answer; more than one worker may have some
	done     chan struct{}
}

// A row is one event of a request on its way through the committer. Once it is answered, it is zero.
type row struct {
	*event.Event
	request  *request
	index    int  // in the request
	doubtful bool // an attempt has left open whether it is stored
}

func (r *row) waits() bool { return r.request != nil }

// load is what rows weigh.
type load struct{ rows, bytes int }

func (l load) plus(m load) load  { return load{l.rows + m.rows, l.bytes + m.bytes} }
func (l load) minus(m load) load { return load{l.rows - m.rows, l.bytes - m.bytes} }
func (l load) within(m load) bool {
	return l.rows <= m.rows && l.bytes <= m.bytes
}

// A queue holds rows from their admission until the committer takes them, oldest first. Its bounds count them until
// they are answered, because that is how long they hold memory.
type queue struct {
	limit load          // of all organisations together
	share load          // of one organisation, unless it has but one request
	wake  chan struct{} // holds a token when there may be something to take, or the queue was closed
	many  int           // rows that are work for a helper
	call  chan struct{} // holds a token when so many may be waiting, or the queue was closed

	mu      sync.Mutex // held for a few steps a row, never across I/O
	rows    []row      // a ring: from head on, waiting of them
	head    int
	waiting int
	held    load
	byOrg   map[string]load // only organisations that hold something
	closed  bool
}

func newQueue(limit, share load, many int) *queue {
	return &queue{
		limit: limit,
		share: share,
		wake:  make(chan struct{}, 1),
		many:  many,
		call:  make(chan struct{}, 1),
		rows:  make([]row, limit.rows),
		byOrg: make(map[string]load),
	}
}

// admit takes all rows of a request or none.
func (q *queue) admit(r *request, events []*event.Event) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	before, others := q.byOrg[r.orgID]
	held, ofOrg := q.held.plus(r.size), before.plus(r.size)
	if !held.within(q.limit) || others && !ofOrg.within(q.share) {
		return ErrQueueFull
	}
	q.held, q.byOrg[r.orgID] = held, ofOrg
	for i, e := range events {
		q.rows[(q.head+q.waiting)%len(q.rows)] = row{Event: e, request: r, index: i}
		q.waiting++
	}
	q.signal()
	return nil
}

// take appends the oldest rows to batch: at most limit, the first in any case, and those after it while they fit.
func (q *queue) take(batch []row, limit load) []row {
	q.mu.Lock()
	defer q.mu.Unlock()
	var size load
	for q.waiting > 0 {
		size = size.plus(load{1, q.rows[q.head].Size()})
		if len(batch) > 0 && !size.within(limit) {
			break
		}
		batch = append(batch, q.pop())
	}
	return batch
}

// putBack makes rows that have no answer yet the oldest again.
func (q *queue) putBack(rows []row) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range slices.Backward(rows) {
		q.head = (q.head + len(q.rows) - 1) % len(q.rows)
		q.rows[q.head] = r
		q.waiting++
	}
	q.signal()
}

// due takes the oldest rows if it is too late for them.
func (q *queue) due(now time.Time) (rows []row) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.waiting > 0 && !now.Before(q.rows[q.head].request.deadline) {
		rows = append(rows, q.pop())
	}
	return rows
}

// pop takes the oldest row.
func (q *queue) pop() row {
	oldest := q.rows[q.head]
	q.rows[q.head] = row{}
	q.head = (q.head + 1) % len(q.rows)
	q.waiting--
	return oldest
}

// release gives back what answered requests held.
func (q *queue) release(answered []*request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range answered {
		q.held = q.held.minus(r.size)
		if left := q.byOrg[r.orgID].minus(r.size); left.rows == 0 {
			delete(q.byOrg, r.orgID)
		} else {
			q.byOrg[r.orgID] = left
		}
	}
}

// close refuses what comes from now on; what was admitted stays.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

// drained reports whether nothing waits, and nothing ever will.
func (q *queue) drained() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed && q.waiting == 0
}

func (q *queue) load() load {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.held
}

// hasMany waits until there is work for a helper. It returns false once the queue is closed.
func (q *queue) hasMany() bool {
	for {
		q.mu.Lock()
		closed, many := q.closed, q.waiting >= q.many
		q.mu.Unlock()
		if closed || many {
			return !closed
		}
		<-q.call
	}
}

// signal wakes whoever has something to do.
func (q *queue) signal() {
	leave(q.wake)
	if q.closed || q.waiting >= q.many {
		leave(q.call)
	}
}

// leave leaves a token, unless there is one.
func leave(tokens chan struct{}) {
	select {
	case tokens <- struct{}{}:
	default:
	}
}
