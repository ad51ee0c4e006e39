//go:build !race

package trust_test

import (
	"testing"
	"time"
)

// Every forwarded request is signed. The one is the claim, which the hash is given behind an interface. Under the race
// detector there are more, because pools forget at random.
func TestSigningAllocatesNoMoreThanTheClaim(t *testing.T) {
	s, now, c := parse(t, first), time.Now(), claim()
	buf := s.AppendSignature(nil, c, now)
	if got := testing.AllocsPerRun(1000, func() { buf = s.AppendSignature(buf[:0], c, now) }); got > 1 {
		t.Errorf("%v allocations", got)
	}
}
