package fastpath

import (
	"net"
	"sync"
)

// queue holds the connections that wait to be accepted. It has no limit of its own: they are counted, and limited, by
// the listener below.
type queue struct {
	mu      sync.Mutex
	changed *sync.Cond
	waiting []*client
	err     error // what Accept fails with once nobody waits
}

func newQueue() *queue {
	q := new(queue)
	q.changed = sync.NewCond(&q.mu)
	return q
}

// push returns false once nobody accepts any more: the connection is still the caller's.
func (q *queue) push(c *client) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return false
	}
	q.waiting = append(q.waiting, c)
	q.changed.Signal()
	return true
}

func (q *queue) pop() (net.Conn, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 {
		if q.err != nil {
			return nil, q.err
		}
		q.changed.Wait()
	}
	c := q.waiting[0]
	q.waiting[0] = nil
	q.waiting = q.waiting[1:]
	return c, nil
}

func (q *queue) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
	}
	q.changed.Broadcast()
}
