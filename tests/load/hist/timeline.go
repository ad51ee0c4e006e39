package hist

import (
	"sync"
	"time"
)

const (
	firstWidth = 20 * time.Millisecond // 5,000 requests may be over in 150 ms
	maxSlots   = 128                   // then two slots become one: any run longer than that is 64 to 128 points
)

// Slot is what finished in one stretch of time.
type Slot struct {
	Latency Hist
	Failed  int64
}

func (s *Slot) merge(o *Slot) {
	s.Latency.Merge(&o.Latency)
	s.Failed += o.Failed
}

// Reset empties s.
func (s *Slot) Reset() {
	s.Latency.Reset()
	s.Failed = 0
}

// Timeline collects the slots that many goroutines fill for themselves. It is safe for concurrent use.
type Timeline struct {
	mu    sync.Mutex // held for the merging of one slot, once a slot and goroutine
	width time.Duration
	slots []*Slot
}

// NewTimeline is an empty timeline.
func NewTimeline() *Timeline { return &Timeline{width: firstWidth} }

// Add merges what finished in the slot that contains at (time since the start), and returns when the slot that contains
// now ends: until then the caller gathers for itself.
func (t *Timeline) Add(slot *Slot, at, now time.Duration) (until time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.slotLocked(at).merge(slot)
	return now - now%t.width + t.width
}

// Slots is a copy of the slots so far, and their width.
func (t *Timeline) Slots() ([]Slot, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Slot, len(t.slots))
	for i, slot := range t.slots {
		list[i] = *slot
	}
	return list, t.width
}

// Since merges the slots that begin at from or later, for a look at a run in progress.
func (t *Timeline) Since(from time.Duration) *Slot {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := &Slot{}
	for i := int((from + t.width - 1) / t.width); i < len(t.slots); i++ {
		sum.merge(t.slots[i])
	}
	return sum
}

func (t *Timeline) slotLocked(at time.Duration) *Slot {
	for int(at/t.width) >= maxSlots {
		t.halveLocked()
	}
	for len(t.slots) <= int(at/t.width) {
		t.slots = append(t.slots, &Slot{})
	}
	return t.slots[at/t.width]
}

func (t *Timeline) halveLocked() {
	for i := 0; i < len(t.slots); i += 2 {
		if i+1 < len(t.slots) {
			t.slots[i].merge(t.slots[i+1])
		}
		t.slots[i/2] = t.slots[i]
	}
	t.slots = t.slots[:(len(t.slots)+1)/2]
	t.width *= 2
}
