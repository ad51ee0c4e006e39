package auth

import (
	"maps"
	"slices"
	"sync"
)

// evictions are the scopes that the shared cache has still to evict.
type evictions struct {
	added chan struct{} // of capacity 1: something was added

	mu      sync.Mutex
	waiting round
}

// round counts what was asked for, so that what is asked for again while a round is on its way is not taken for done.
type round struct {
	all      int
	prefixes map[string]int
}

// Beyond 100,000 prefixes everything is evicted instead: a shared cache that is away for long must not cost memory
// without bound.
const maxEvictions = 100_000

func newEvictions() *evictions {
	return &evictions{added: make(chan struct{}, 1), waiting: round{prefixes: make(map[string]int)}}
}

func (e *evictions) add(s Scope) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.All || len(e.waiting.prefixes)+len(s.Prefixes) > maxEvictions {
		e.waiting.all++
		clear(e.waiting.prefixes)
	} else {
		for _, prefix := range s.Prefixes {
			e.waiting.prefixes[prefix]++
		}
	}
	select {
	case e.added <- struct{}{}:
	default:
	}
}

// pending says whether the shared cache may still hold what was removed under prefix.
func (e *evictions) pending(prefix string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.waiting.all > 0 || e.waiting.prefixes[prefix] > 0
}

// next returns what to evict now; false if there is nothing.
func (e *evictions) next() (round, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := round{all: e.waiting.all, prefixes: maps.Clone(e.waiting.prefixes)}
	return now, now.all > 0 || len(now.prefixes) > 0
}

// done forgets what a round has evicted.
func (e *evictions) done(r round) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting.all -= r.all
	for prefix, n := range r.prefixes {
		if e.waiting.prefixes[prefix] -= n; e.waiting.prefixes[prefix] <= 0 {
			delete(e.waiting.prefixes, prefix)
		}
	}
}

func (r round) scope() Scope {
	if r.all > 0 {
		return Scope{All: true}
	}
	return Scope{Prefixes: slices.Collect(maps.Keys(r.prefixes))}
}
