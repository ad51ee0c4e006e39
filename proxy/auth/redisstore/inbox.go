package redisstore

import "sync"

// inbox collects confirmations for the invalidations under way.
type inbox struct {
	mu      sync.Mutex
	waiting map[string]*waiter // by id of the invalidation
}

// waiter is what one invalidation waits for. Its fields but complete are guarded by inbox.mu.
type waiter struct {
	id       string
	missing  map[confirmation]struct{}
	parts    map[string]int // by proxy: how many of its parts are missing
	complete chan struct{}  // closed when nothing is missing
}

type confirmation struct {
	proxy string
	part  int
}

// expect begins to wait for each proxy to confirm each part.
func (in *inbox) expect(proxies []string, parts []message) *waiter {
	w := &waiter{
		missing:  make(map[confirmation]struct{}, len(proxies)*len(parts)),
		parts:    make(map[string]int, len(proxies)),
		complete: make(chan struct{}),
	}
	for _, proxy := range proxies {
		w.parts[proxy] = len(parts)
		for _, part := range parts {
			w.id = part.ID
			w.missing[confirmation{proxy, part.Part}] = struct{}{}
		}
	}
	if len(w.missing) == 0 {
		close(w.complete)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.waiting == nil {
		in.waiting = make(map[string]*waiter)
	}
	in.waiting[w.id] = w
	return w
}

// confirmed counts a confirmation. In a cluster each comes once per master.
func (in *inbox) confirmed(m message) {
	in.mu.Lock()
	defer in.mu.Unlock()
	w := in.waiting[m.ID]
	if w == nil {
		return
	}
	which := confirmation{m.From, m.Part}
	if _, ok := w.missing[which]; !ok {
		return
	}
	delete(w.missing, which)
	w.parts[m.From]--
	if len(w.missing) == 0 {
		close(w.complete)
	}
}

// count returns how many proxies have confirmed all parts.
func (in *inbox) count(w *waiter) (n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, missing := range w.parts {
		if missing == 0 {
			n++
		}
	}
	return n
}

func (in *inbox) forget(w *waiter) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.waiting, w.id)
}
