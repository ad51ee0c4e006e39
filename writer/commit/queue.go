package commit

import (
	"sync"
	"time"

	"keygate/writer/event"
)

// A request is one call of Submit. Its answers are the committer's until done is closed, and the caller's from then on.
type request struct {
	orgID    string
	size     load
	deadline time.Time
	answers  []Answer
	one      [1]Answer // the usual answers
	left     int       // rows without an answer; the committer's
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

	mu      sync.Mutex // held for a few steps a row, never across I/O
	rows    []row      // a ring: from head on, waiting of them
	head    int
	waiting int
	held    load
	byOrg   map[string]load // only organisations that hold something
	closed  bool
}

func newQueue(limit, share load) *queue {
	return &queue{
		limit: limit,
		share: share,
		wake:  make(chan struct{}, 1),
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
		next := &q.rows[q.head]
		size = size.plus(load{1, next.Size()})
		if len(batch) > 0 && !size.within(limit) {
			break
		}
		batch = append(batch, *next)
		*next = row{}
		q.head = (q.head + 1) % len(q.rows)
		q.waiting--
	}
	return batch
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

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}
