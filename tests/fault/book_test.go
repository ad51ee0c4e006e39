package fault

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// An entry is one event that a client wants stored, written down before it is sent for the first time.
type entry struct {
	number int64 // in the payload of the event, and of no other
	org    string
	key    string
	dedup  string // "" for none: then it is sent only once
	asked  int    // how often it was sent

	stored string // the id in the answer that has acknowledged it
	last   string // else the last answer: a code, or what became of the connection
	named  string // the id in that answer, if it has one
}

func (e *entry) body() string {
	if e.dedup == "" {
		return fmt.Sprintf(`{"type":"order.paid","payload":{"n":%d,"text":"ä\n"}}`, e.number)
	}
	return fmt.Sprintf(`{"type":"order.paid","dedup_id":%q,"payload":{"n":%d,"text":"ä\n"}}`, e.dedup, e.number)
}

// A book is what all clients have written down.
type book struct {
	tb testing.TB

	mu      sync.Mutex
	entries []*entry
	tally   map[string]int // answers by their codes
	acks    int
	longest time.Duration // that a client waited for a request which ended in an acknowledgement
	since   time.Time     // of the last acknowledgement
	gap     time.Duration // the longest time without any
}

func newBook(tb testing.TB) *book {
	return &book{tb: tb, tally: make(map[string]int), since: time.Now()}
}

func (b *book) open(e *entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries = append(b.entries, e)
}

// note enters what came of asking for an event.
func (b *book) note(e *entry, got result, took time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tally[got.code]++
	e.asked++
	if !got.acknowledges() {
		e.last, e.named = got.code, got.id
		return
	}
	if got.code == duplicate && e.asked == 1 {
		b.tb.Errorf("event %d is called a duplicate of %s, and was sent but once", e.number, got.id)
	}
	e.stored = got.id
	b.acks++
	b.longest = max(b.longest, took)
	now := time.Now()
	b.gap, b.since = max(b.gap, now.Sub(b.since)), now
}

// count enters what came of sending something that is in the book already.
func (b *book) count(code string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tally[code]++
}

func (b *book) acknowledged() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.acks
}

// stalls returns the longest times since it was last called: of one request, and without any acknowledgement.
func (b *book) stalls() (request, all time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	request, all = b.longest, max(b.gap, time.Since(b.since))
	b.longest, b.gap, b.since = 0, 0, time.Now()
	return request, all
}

// answers returns how often each code was answered.
func (b *book) answers() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.tally)
}

func show(tally map[string]int) string {
	var parts []string
	for _, code := range slices.Sorted(maps.Keys(tally)) {
		parts = append(parts, fmt.Sprintf("%d %s", tally[code], code))
	}
	return strings.Join(parts, ", ")
}
