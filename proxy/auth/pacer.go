package auth

import (
	"slices"
	"sync"
	"time"
)

const (
	// Each two milliseconds a sixth of those who wait have their answer, two at least: ten in 10 ms, a hundred in 38.
	paceEach  = 2 * time.Millisecond
	paceShare = 6
	paceLeast = 2
)

// pacer has flights that ended together tell so a few at a time. To wake everybody who waits for a flood's look-ups at once
// keeps all processors busy for a while, at the expense of customers whose keys are in memory.
type pacer struct {
	mu      sync.Mutex
	waiting []*flight // the oldest first
	next    *time.Timer
}

// give has fl tell those who wait for it, soon.
func (p *pacer) give(fl *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, fl)
	if len(p.waiting) == 1 {
		p.next = time.AfterFunc(paceEach, p.pace)
	}
}

func (p *pacer) pace() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.giveLocked(max(paceLeast, len(p.waiting)/paceShare))
	if len(p.waiting) > 0 {
		p.next.Reset(paceEach)
	}
}

func (p *pacer) giveLocked(n int) {
	n = min(n, len(p.waiting))
	for _, fl := range p.waiting[:n] {
		fl.tell()
	}
	p.waiting = slices.Delete(p.waiting, 0, n)
}

// close gives what is left at once. Nothing may be given any more.
func (p *pacer) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.giveLocked(len(p.waiting))
}
