package auth

import (
	"testing"
	"time"
)

// spread returns the least and the greatest of many.
func spread(of func() int64) (least, most int64) {
	least, most = of(), of()
	for range 200 {
		next := of()
		least, most = min(least, next), max(most, next)
	}
	return least, most
}

// What was stored together is not asked about together: a fleet that starts, or is in doubt, has a thousand keys of one age.
func TestWhatWasStoredTogetherIsNotRefreshedTogether(t *testing.T) {
	const ttl = 30_000
	r := New(Config{CacheTTL: ttl * time.Millisecond})
	defer r.Close()
	f := func(what string, from, to int64, of func() int64) {
		t.Helper()
		if least, most := spread(of); least < from || most > to || most-least < (to-from)/2 {
			t.Errorf("%s: between %d and %d ms, which should be all from %d to %d", what, least, most, from, to)
		}
	}
	f("the end of a copy", ttl*9/10, ttl, func() int64 { return r.lifetime(0, 0, flagShared).freshUntil })
	f("its refresh", ttl*9/10*8/10, ttl*8/10, func() int64 { return r.lifetime(0, 0, flagShared).refreshAt })
	now := r.clock.steady(time.Now())
	f("what is verified after a doubt", ttl/10, ttl*8/10+1000, func() int64 { return r.provisional(&quest{}, now+ttl).refreshAt - now })
}
