package auth

import (
	"context"
	"time"
)

const (
	// Prefixes never seen are hardly ever keys while so many of them in a row are none, each within a second of the one
	// before. Whoever mistypes one makes no row: others' keys come in between, or nothing does. Each proxy finds out by
	// itself, and until then each look-up is one alone, with a lease of which the whole fleet hears.
	barrenRow = 4
	barrenGap = time.Second
	// Then their look-ups go together, a few milliseconds later than they might: of the 500 a second that have a turn by
	// default there are as many at a time as may be asked at once.
	togetherEach = 16 * time.Millisecond
)

// found counts what look-ups of prefixes never seen find.
func (g *gate) found(rows int) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if rows > 0 || now.Sub(g.lastVain) > barrenGap {
		g.vain = 0
	}
	if rows == 0 {
		g.vain++
		g.lastVain = now
	}
}

// barren says whether the next prefix that was never seen is likely to be nobody's.
func (g *gate) barren() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.vain >= barrenRow && time.Since(g.lastVain) <= barrenGap
}

// nextTogether is the first moment from t on at which those go who go together. Proxies have moments of their own, so that
// a fleet does not come at once.
func (g *gate) nextTogether(t time.Time) time.Time {
	due := t.Truncate(togetherEach).Add(g.phase)
	for due.Before(t) {
		due = due.Add(togetherEach)
	}
	return due
}

// goTogether waits for the first moment from t on, and returns false if ctx ends before.
func (g *gate) goTogether(ctx context.Context, t time.Time) bool {
	select {
	case <-g.moment(g.nextTogether(t)):
		return true
	case <-ctx.Done():
		return false
	}
}

// moment returns what is closed then. One timer serves all who wait for it.
func (g *gate) moment(then time.Time) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := then.UnixNano()
	come, ok := g.moments[at]
	if !ok {
		come = make(chan struct{})
		g.moments[at] = come
		time.AfterFunc(time.Until(then), func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			delete(g.moments, at)
			close(come)
		})
	}
	return come
}

// sleepUntil returns false if ctx ends before.
func sleepUntil(ctx context.Context, t time.Time) bool {
	wait := time.Until(t)
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
