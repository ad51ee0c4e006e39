package auth

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// errOverBudget reports that the source was not asked, to protect it.
var errOverBudget = errors.New("the source's budget is spent")

// gate bounds what the source is asked: a rate, a number at once, and a pause after failures. Prefixes never seen may
// use at most half of either, so that a flood of them leaves the other half to keys that exist.
type gate struct {
	all, unseen   *rate.Limiter
	slots, halves chan struct{}
	changed       func(failing bool) // called for each change, in order, and so under the lock: it must be quick
	burst         int                // look-ups of prefixes never seen that may have a turn at once, but in a flood
	phase         time.Duration      // of the moments at which those go who go together

	mu       sync.Mutex
	failures int       // in a row
	answered time.Time // when it last did
	pause    time.Time // until then nobody asks; then one does
	vain     int       // look-ups of prefixes never seen that found nothing, in a row
	lastVain time.Time
	moments  map[int64]chan struct{} // that somebody waits for, by their time in ns
}

func newGate(perSecond, concurrency int, changed func(failing bool)) *gate {
	half := func(n int) int { return max(1, n/2) }
	return &gate{
		all:    rate.NewLimiter(rate.Limit(perSecond), perSecond),
		unseen: rate.NewLimiter(rate.Limit(half(perSecond)), half(perSecond)),
		slots:  make(chan struct{}, concurrency),
		halves: make(chan struct{}, half(concurrency)),

		burst:   half(perSecond),
		changed: changed,
		phase:   rand.N(togetherEach),
		moments: make(map[int64]chan struct{}),
	}
}

// After three failures in a row the source is left alone for a second at a time: last known answers are served at once
// instead of after a time-out each, and a source that returns is not met by everybody.
const (
	failuresToPause = 3
	sourcePause     = time.Second
)

// enter waits for permission to ask, until a time or until ctx ends. Who asks for a prefix never seen has a turn of those;
// for others it is nil. The caller calls leave when it has asked, and told with the result.
func (g *gate) enter(ctx context.Context, until time.Time, unseen *turn) (leave func(), err error) {
	if unseen != nil && !(unseen.await(ctx) && acquire(ctx, until, g.halves)) {
		return nil, errOverBudget
	}
	leave = func() {
		<-g.slots
		if unseen != nil {
			<-g.halves
		}
	}
	if t, err := g.reserve(until, g.all, sleepUntil); err == nil && t.await(ctx) && acquire(ctx, until, g.slots) {
		if !g.paused() { // it may have failed while we waited
			return leave, nil
		}
		leave()
	} else if unseen != nil {
		<-g.halves
	}
	return nil, errOverBudget
}

// unseenTurn gives out the next turn of the half of prefixes never seen, in a flood one that many of them have together.
// What a quiet second has saved up is for those that may be keys.
func (g *gate) unseenTurn(until time.Time) (*turn, error) {
	burst, sleep := g.burst, sleepUntil
	if g.barren() {
		burst, sleep = cap(g.halves), g.goTogether
	}
	if g.unseen.Burst() != burst {
		g.unseen.SetBurst(burst)
	}
	return g.reserve(until, g.unseen, sleep)
}

// turn is when somebody may ask. It is to be awaited.
type turn struct {
	reserved *rate.Reservation
	at       time.Time // zero: now
	sleep    func(ctx context.Context, until time.Time) bool
}

// reserve gives out the next turn of a limiter, unless it comes too late or the source is left alone. It does not wait.
func (g *gate) reserve(until time.Time, of *rate.Limiter, sleep func(context.Context, time.Time) bool) (*turn, error) {
	if g.resting() {
		return nil, errOverBudget
	}
	now := time.Now()
	t := &turn{reserved: of.ReserveN(now, 1), sleep: sleep}
	if wait := t.reserved.DelayFrom(now); wait > 0 {
		t.at = now.Add(wait)
	}
	if t.at.After(until) {
		t.reserved.Cancel()
		return nil, errOverBudget
	}
	return t, nil
}

// await returns false if ctx ends before. Then the turn is given back.
func (t *turn) await(ctx context.Context) bool {
	if t.at.IsZero() || t.sleep(ctx, t.at) {
		return true
	}
	t.reserved.Cancel()
	return false
}

// acquire makes a timer only if it has to wait.
func acquire(ctx context.Context, until time.Time, slots chan struct{}) bool {
	select {
	case slots <- struct{}{}:
		return true
	default:
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	select {
	case slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// resting says whether the source is left alone at the moment, so that there is no point in waiting for it.
func (g *gate) resting() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failures >= failuresToPause && time.Now().Before(g.pause)
}

// paused says whether to leave the source alone. After a pause the first to call is let through and the pause begins
// anew for the others, until told says how it went.
func (g *gate) paused() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failures < failuresToPause {
		return false
	}
	now := time.Now()
	if now.Before(g.pause) {
		return true
	}
	g.pause = now.Add(sourcePause)
	return false
}

func (g *gate) healthy() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failures < failuresToPause
}

// A tenth of a second: while look-ups go on, each vouches for the next.
const vouches = 100 * time.Millisecond

// answers says whether the source may be expected to answer the next look-up, too.
func (g *gate) answers() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failures == 0 && time.Since(g.answered) < vouches
}

// untried says whether the source has never answered a look-up yet.
func (g *gate) untried() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.answered.IsZero()
}

// fails says whether the last look-up failed.
func (g *gate) fails() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failures > 0
}

// told counts failures in a row of look-ups, of which this one began at a moment. If somebody else has been answered
// since, the source is busy and not broken.
func (g *gate) told(began time.Time, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err == nil:
		if g.failures >= failuresToPause {
			g.changed(false)
		}
		g.failures, g.answered = 0, time.Now()
	case began.Before(g.answered):
	default:
		if g.failures++; g.failures == failuresToPause {
			g.pause = time.Now().Add(sourcePause)
			g.changed(true)
		}
	}
}
