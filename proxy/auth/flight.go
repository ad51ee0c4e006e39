package auth

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A waiter is held no longer than this from when the first one came, however often the flight has to start again.
const flightBudget = 500 * time.Millisecond

// purpose is what a flight is for. Those who ask and those who doubt wait for different answers.
type purpose uint8

const (
	asked   purpose = iota // any tier may answer
	unpaid                 // any may, but the source is asked only about what others know: the askers' addresses are spent
	doubted                // only the source may
)

type flightKey struct {
	prefix  string
	purpose purpose
}

// asker answers for flights. *Resolver is the one there is.
type asker interface {
	ask(ctx context.Context, key flightKey) answer
	// overtaken says whether a remove came since the answer's first tier was read, and unconfirmed whether a look came
	// since what decided it was read or written. They do not block.
	overtaken(prefix string, a answer) bool
	unconfirmed(prefix string, a answer) bool
}

// flights lets one goroutine per prefix ask the tiers, for everybody who waits for that prefix. No client owns a
// flight: one that hangs up takes nothing from the others.
type flights struct {
	asker  asker
	base   context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	pacer  pacer

	mu     sync.Mutex // held for map operations only
	flying map[flightKey]*flight
	closed bool
}

type flight struct {
	done    chan struct{}
	answer  answer      // written before done is closed, read after
	charged atomic.Bool // somebody has the look-up on their account
}

// answer is what the tiers said. Without an entry, reason tells why.
type answer struct {
	entry   entry
	reason  Reason
	tier    Tier // where it is from; memory, if it is the last known one
	note    note // what had been heard when the answer was still to be read
	flooded bool // one of many refusals, which can wait for each other
	again   bool // an eviction came between reading and storing: nothing is known
	mine    bool // for one of the waiters: the look-up is on their account
}

func newFlights(a asker) *flights {
	base, cancel := context.WithCancel(context.Background())
	return &flights{asker: a, base: base, cancel: cancel, flying: make(map[flightKey]*flight)}
}

// join returns the flight for prefix, starting it if there is none.
func (f *flights) join(prefix []byte, why purpose) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl, ok := f.flying[flightKey{string(prefix), why}]; ok {
		return fl
	}
	return f.startLocked(flightKey{string(prefix), why})
}

func (f *flights) startLocked(key flightKey) *flight {
	fl := &flight{done: make(chan struct{})}
	if f.closed {
		close(fl.done)
		return fl
	}
	f.flying[key] = fl
	f.wg.Add(1)
	go f.fly(key, fl)
	return fl
}

// recheck has the copy of prefix confirmed in the background. A flight under way sees the look when it lands.
func (f *flights) recheck(prefix string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recheckLocked(prefix)
}

func (f *flights) recheckLocked(prefix string) {
	key := flightKey{prefix, asked}
	if _, flying := f.flying[key]; !flying && len(f.flying) < maxRechecks {
		f.startLocked(key)
	}
}

// Beyond 64 flights at once, copies wait for their next use to be confirmed: a DEL of a million keys must not become a
// million goroutines.
const maxRechecks = 64

// fly asks until no remove overtook the answer, or the budget is spent.
func (f *flights) fly(key flightKey, fl *flight) {
	defer f.wg.Done()
	ctx, cancel := context.WithTimeout(f.base, flightBudget)
	defer cancel()
	for {
		if got := f.asker.ask(ctx, key); f.land(ctx, key, fl, got) {
			return
		}
	}
}

// land delivers an answer unless a remove overtook it. It leaves the map under the lock that joining takes: whoever
// joins after a remove either finds no flight, or one that will see the remove here.
func (f *flights) land(ctx context.Context, key flightKey, fl *flight, got answer) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if got.again || f.asker.overtaken(key.prefix, got) {
		if ctx.Err() == nil {
			return false
		}
		got = answer{reason: Unavailable}
	}
	delete(f.flying, key)
	fl.answer = got
	if got.flooded && ctx.Err() == nil {
		f.pacer.give(fl)
	} else {
		close(fl.done)
	}
	if got.entry != nil && f.asker.unconfirmed(key.prefix, got) {
		f.recheckLocked(key.prefix)
	}
	return true
}

// wait returns the flight's answer, or Unavailable once ctx ends.
func (fl *flight) wait(ctx context.Context) answer {
	select {
	case <-fl.done:
		return fl.answer
	case <-ctx.Done():
		return answer{reason: Unavailable}
	}
}

// close cancels every flight and waits for them.
func (f *flights) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cancel()
	f.wg.Wait()
	f.pacer.close()
}
