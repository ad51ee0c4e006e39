package redisstore

import (
	"sync"
	"time"
)

// roster is who lives. Redis can lose its list (FLUSHALL, a restart, a fail-over), or keep none for a while, because it
// takes no writes: whoever was on it before still holds copies, and an invalidation that did not count them would claim
// to be complete.
type roster struct {
	mu     sync.Mutex
	member bool                     // we were on the list when it was last read or written
	beaten time.Time                // when we were last put on it
	living map[string]time.Duration // the last listing, without us: how long each counts without another heartbeat
	missed map[string]time.Time     // on a list that was lost and not on one since: until when they count
}

// A list that does not have our own heartbeats does not have those of others either.
const keptFor = 3 * beatInterval

// listed learns a listing. Absent says that we were not on it, which is a loss if we should have been; joined that we
// have been put on it now.
func (r *roster) listed(living map[string]time.Duration, absent, joined bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.missed == nil {
		r.missed = make(map[string]time.Time)
	}
	now := time.Now()
	unkept := now.Sub(r.beaten) > keptFor
	if unkept && !joined {
		return
	}
	if r.member && (absent || unkept) {
		for id, life := range r.living {
			r.missed[id] = now.Add(life)
		}
	}
	if r.member = joined || !absent; joined {
		r.beaten = now
	}
	r.living = living
	for id := range living {
		delete(r.missed, id)
	}
}

// kept says whether our own heartbeats reach the list.
func (r *roster) kept() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.beaten) <= keptFor
}

func (r *roster) others() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := make([]string, 0, len(r.living)+len(r.missed))
	for id := range r.living {
		ids = append(ids, id)
	}
	for id, until := range r.missed {
		if time.Now().After(until) {
			delete(r.missed, id)
			continue
		}
		ids = append(ids, id)
	}
	return ids
}
