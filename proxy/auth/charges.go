package auth

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

const (
	// A client that mistypes a key asks for one that does not exist once; one that tries keys gets 50 look-ups a second,
	// a twentieth of the source's default rate, after the first 200.
	chargeInterval = 20 * time.Millisecond
	chargeBurst    = 200 * chargeInterval

	// What is charged in all is bounded by the source's budget for prefixes never seen: of 500 a second, ten addresses can
	// be over their limit. Each has two slots of 65,536, half a megabyte, so that there is no table to fill, and for an
	// innocent address both of its slots are a flood's once in millions.
	chargeSlots = 1 << 16
)

// charges count, by address, look-ups that found nothing. All methods are safe for concurrent use; times are
// milliseconds on the steady clock.
type charges struct {
	seed  maphash.Seed
	slots [chargeSlots]atomic.Int64 // when all that was charged will be paid off
}

func newCharges() *charges { return &charges{seed: maphash.MakeSeed()} }

// of returns the slots of an address; nil for the zero one, which nobody charges. Who has one IPv6 address has 2^64.
func (c *charges) of(from netip.Addr) (one, other *atomic.Int64) {
	if !from.IsValid() {
		return nil, nil
	}
	network := from.As16()
	significant := network[:]
	if from = from.Unmap(); from.Is6() {
		significant = network[:8]
	}
	sum := maphash.Bytes(c.seed, significant)
	return &c.slots[sum%chargeSlots], &c.slots[sum>>32%chargeSlots]
}

// spent says whether an address has had what it may have.
func (c *charges) spent(from netip.Addr, now int64) bool {
	one, other := c.of(from)
	limit := now + (chargeBurst - chargeInterval).Milliseconds()
	return one != nil && one.Load() > limit && other.Load() > limit
}

// charge counts one look-up. Those that are under way together may be more than the limit: they are paid off all the same.
func (c *charges) charge(from netip.Addr, now int64) {
	one, other := c.of(from)
	if one == nil {
		return
	}
	add(one, now)
	if other != one {
		add(other, now)
	}
}

func add(slot *atomic.Int64, now int64) {
	for {
		paid := slot.Load()
		if slot.CompareAndSwap(paid, max(paid, now)+chargeInterval.Milliseconds()) {
			return
		}
	}
}
