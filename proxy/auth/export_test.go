package auth

import (
	"net/netip"
	"time"
)

// Owe charges an address with what takes a minute to be paid off, so that a busy machine is not too slow to see it spent.
func (r *Resolver) Owe(from netip.Addr) {
	for range time.Minute/chargeInterval + chargeBurst/chargeInterval {
		r.charges.charge(from, r.clock.steady(time.Now()))
	}
}
