//go:build !race

package identity_test

import (
	"testing"

	"keygate/proxy/identity"
)

// Every forwarded request goes through it. The one is the claim that is signed. Under the race detector there are more,
// because pools forget at random.
func TestStrippingInjectingAndSigningAllocateNoMoreThanTheClaim(t *testing.T) {
	p, v, lines := policy(t), vouch(), parse(t, usualHeader)
	v.Origin = &identity.Origin{}
	buf := appendUsual(p, nil, lines, v)
	if got := testing.AllocsPerRun(1000, func() { buf = appendUsual(p, buf[:0], lines, v) }); got > 1 {
		t.Errorf("%v allocations", got)
	}
}
