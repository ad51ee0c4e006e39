package auth

import (
	"context"
	"time"
)

const (
	// Prefixes never seen are hardly ever keys while so many of them in a row are none, each within a second of the one
	// before. Whoever mistypes one makes no row: others' keys come in between, or nothing does.
	barrenRow = 16
	barrenGap = time.Second
	// Then their look-ups go together, a few milliseconds later than they might: of 500 a second there are ten in a round
	// trip, which costs what two by themselves do.
	togetherEach = 20 * time.Millisecond
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
