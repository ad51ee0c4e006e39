package auth

import (
	"context"
	"sync"
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
	// together says when to ask about a prefix that is to be asked about with others; zero: now, and alone.
	together(prefix []byte) time.Time
	ask(ctx context.Context, key flightKey) answer
	// askTogether answers in the order of keys. It waits for the shared cache alone: where that is not all, the answer
	// has a rest.
	askTogether(ctx context.Context, keys []flightKey) []answer
	// overtaken says whether a remove came since the answer's first tier was read, and unconfirmed whether a look came
	// since what decided it was read or written. They do not block.
	overtaken(prefix string, a answer) bool
	unconfirmed(prefix string, a answer) bool
}

// waiter waits for a flight. landed is called once, at the end of the flight, by one goroutine for one waiter after the
// other. It does not block, and does not keep the flight.
type waiter interface{ landed(fl *flight) }

// flights ask the tiers once per prefix, for everybody who waits for that prefix. No client owns a flight: one that hangs
// up takes nothing from the others. Each has a goroutine, but those that go together share one.
type flights struct {
	asker  asker
	base   context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	pacer  pacer

	mu     sync.Mutex // held for map operations only
	flying map[flightKey]*flight
	crowd  []*flight // that will go together
	closed bool
}

type flight struct {
	key     flightKey
	until   time.Time // the end of its budget
	waiters []waiter  // nobody joins who comes after it landed
	answer  answer    // once landed
	charged bool      // a waiter has the look-up on their account
}

// answer is what the tiers said. Without an entry, reason tells why.
type answer struct {
	entry   entry
	reason  Reason
	tier    Tier // where it is from; memory, if it is the last known one
	note    note // what had been heard when the answer was still to be read
	flooded bool // one of many refusals, which can wait for each other
	again   bool // an eviction came between reading and storing: nothing is known

	rest func(ctx context.Context) answer // goes on asking where askTogether ended; nil: that was all
}

func newFlights(a asker) *flights {
	base, cancel := context.WithCancel(context.Background())
	return &flights{asker: a, base: base, cancel: cancel, flying: make(map[flightKey]*flight)}
}

// join has w wait for the flight for prefix, starting it if there is none. nil is for who does not wait.
func (f *flights) join(prefix []byte, why purpose, w waiter) {
	if !f.enlist(prefix, why, w) && w != nil {
		w.landed(&flight{}) // nobody can be asked any more
	}
}

func (f *flights) enlist(prefix []byte, why purpose, w waiter) bool {
	together := f.asker.together(prefix)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	fl, ok := f.flying[flightKey{string(prefix), why}]
	if !ok {
		fl = f.startLocked(flightKey{string(prefix), why}, together)
	}
	if w != nil {
		fl.waiters = append(fl.waiters, w)
	}
	return true
}

func (f *flights) startLocked(key flightKey, together time.Time) *flight {
	fl := &flight{key: key, until: time.Now().Add(flightBudget)}
	f.flying[key] = fl
	f.wg.Add(1)
	if together.IsZero() {
		go f.fly(fl, nil)
		return fl
	}
	if f.crowd = append(f.crowd, fl); len(f.crowd) == 1 {
		time.AfterFunc(time.Until(together), f.flyTogether)
	}
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
	if _, flying := f.flying[key]; !flying && len(f.flying) < maxRechecks && !f.closed {
		f.startLocked(key, time.Time{})
	}
}

// Beyond 64 flights at once, copies wait for their next use to be confirmed: a DEL of a million keys must not become a
// million goroutines.
const maxRechecks = 64

// fly asks until no remove overtook the answer, or the budget is spent. rest, unless it is nil, is the first to be asked.
func (f *flights) fly(fl *flight, rest func(context.Context) answer) {
	ctx, cancel := context.WithDeadline(f.base, fl.until)
	defer cancel()
	if rest != nil && f.land(ctx, fl, rest(ctx)) {
		return
	}
	for !f.land(ctx, fl, f.asker.ask(ctx, fl.key)) {
	}
}

// flyTogether asks for the crowd. Who has to wait for the source does so alone.
func (f *flights) flyTogether() {
	f.mu.Lock()
	crowd := f.crowd
	f.crowd = nil
	f.mu.Unlock()
	ctx, cancel := context.WithDeadline(f.base, crowd[0].until)
	defer cancel()
	keys := make([]flightKey, len(crowd))
	for i, fl := range crowd {
		keys[i] = fl.key
	}
	for i, got := range f.asker.askTogether(ctx, keys) {
		if got.rest != nil || !f.land(ctx, crowd[i], got) {
			go f.fly(crowd[i], got.rest)
		}
	}
}

// land ends a flight with an answer, unless a remove overtook that.
func (f *flights) land(ctx context.Context, fl *flight, got answer) bool {
	if !f.settle(ctx, fl, got) {
		return false
	}
	if got.flooded && ctx.Err() == nil {
		f.pacer.give(fl)
	} else {
		fl.tell()
	}
	f.wg.Done()
	return true
}

// settle takes a flight out of the map under the lock that joining takes: whoever joins after a remove either finds no
// flight, or one that will see the remove here.
func (f *flights) settle(ctx context.Context, fl *flight, got answer) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if got.again || f.asker.overtaken(fl.key.prefix, got) {
		if ctx.Err() == nil {
			return false
		}
		got = answer{reason: Unavailable}
	}
	delete(f.flying, fl.key)
	fl.answer = got
	if got.entry != nil && f.asker.unconfirmed(fl.key.prefix, got) {
		f.recheckLocked(fl.key.prefix)
	}
	return true
}

// tell tells those who wait.
func (fl *flight) tell() {
	for _, w := range fl.waiters {
		w.landed(fl)
	}
}

// close cancels every flight and waits until those who wait have been told.
func (f *flights) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cancel()
	f.wg.Wait()
	f.pacer.close()
}
