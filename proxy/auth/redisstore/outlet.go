package redisstore

import (
	"sync"

	"keygate/proxy/auth"
)

// outlet is where changes leave the package, one at a time and in the order in which they were heard.
type outlet struct {
	metrics *Metrics

	mu      sync.Mutex        // held while a change is delivered, which does not block
	deliver func(auth.Change) // nil unless Run is running
	removed int64             // the floor up to which copies in memory have been removed
}

func (o *outlet) open(deliver func(auth.Change)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.deliver = deliver
}

func (o *outlet) close() { o.open(nil) }

func (o *outlet) look(prefixes []string) {
	o.send(auth.Change{Verb: auth.Look, Scope: auth.Scope{Prefixes: prefixes}})
}

func (o *outlet) remove(scope auth.Scope) { o.send(auth.Change{Verb: auth.Remove, Scope: scope}) }

func (o *outlet) demoteAll() { o.send(auth.Change{Verb: auth.Demote, Scope: auth.Scope{All: true}}) }

// removedUpTo notes that copies from before floor are gone already.
func (o *outlet) removedUpTo(floor int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.removed = max(o.removed, floor)
}

// floorIs compares the floor with what has been removed. A rise that nobody told us of, while there may have been
// copies (there were none before born, on the same clock), is a removal that we missed.
func (o *outlet) floorIs(floor, born int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if floor > max(o.removed, born) {
		o.sendLocked(auth.Change{Verb: auth.Remove, Scope: auth.Scope{All: true}})
	}
	o.removed = max(o.removed, floor)
}

func (o *outlet) send(change auth.Change) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sendLocked(change)
}

func (o *outlet) sendLocked(change auth.Change) {
	if o.deliver == nil {
		return
	}
	o.metrics.changes.WithLabelValues(verbNames[change.Verb]).Inc()
	o.deliver(change)
}

var verbNames = [...]string{auth.Look: "look", auth.Remove: "remove", auth.Demote: "demote"}
