package auth

import (
	"context"
	"sync"
)

// leaseWaits wakes flights that wait for the end of another proxy's lease.
type leaseWaits struct {
	mu      sync.Mutex
	waiting map[string]map[*leaseWaiter]struct{}
}

// leaseWaiter is registered before the lease is looked for once more, so that its end cannot be missed in between.
type leaseWaiter struct{ woken chan struct{} }

func newLeaseWaits() *leaseWaits {
	return &leaseWaits{waiting: make(map[string]map[*leaseWaiter]struct{})}
}

func (l *leaseWaits) register(prefix string) *leaseWaiter {
	w := &leaseWaiter{woken: make(chan struct{}, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting[prefix] == nil {
		l.waiting[prefix] = make(map[*leaseWaiter]struct{}, 1)
	}
	l.waiting[prefix][w] = struct{}{}
	return w
}

func (l *leaseWaits) forget(prefix string, w *leaseWaiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting[prefix], w)
	if len(l.waiting[prefix]) == 0 {
		delete(l.waiting, prefix)
	}
}

func (l *leaseWaits) wake(prefix string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := range l.waiting[prefix] {
		select {
		case w.woken <- struct{}{}:
		default:
		}
	}
}

// until waits for a message about the prefix, until ctx ends.
func (w *leaseWaiter) until(ctx context.Context) {
	select {
	case <-w.woken:
	case <-ctx.Done():
	}
}
