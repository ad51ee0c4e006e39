package server

import "sync"

// arrivals bounds what requests hold whose bodies are still arriving. What has arrived counts in the committer's queue
// instead; apart from it, senders of large bodies that never end cannot keep the queue from everybody else.
type arrivals struct {
	limit int // bytes
	share int // of it, for one organisation

	mu    sync.Mutex // held for a few steps
	held  int
	byOrg map[string]int // only organisations that hold something
}

// An organisation may hold half of the limit, and one body in any case.
func newArrivals(limit, maxBody int) *arrivals {
	return &arrivals{limit: limit, share: max(limit/2, maxBody), byOrg: make(map[string]int)}
}

// take reports whether there is room for so many bytes more, and if so counts them.
func (a *arrivals) take(org string, size int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held+size > a.limit || a.byOrg[org]+size > a.share {
		return false
	}
	a.held += size
	a.byOrg[org] += size
	return true
}

func (a *arrivals) give(org string, size int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held -= size
	if a.byOrg[org] -= size; a.byOrg[org] == 0 {
		delete(a.byOrg, org)
	}
}
