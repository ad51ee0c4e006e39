package auth

import (
	"context"
	"net/netip"
	"slices"
	"time"
)

// inquiry is a presented key and what is known of who asks. It belongs to the flight that it waits for.
type inquiry struct {
	r      *Resolver
	key    []byte
	prefix []byte
	from   netip.Addr
	at     time.Time // when it came
	note   note      // what had been heard by then
	why    purpose
	next   bool // it waits for the next flight, after one that had been under way
	tell   func(Decision)
}

// Ask decides about a presented key and calls tell once: at once where memory can tell, else from another goroutine, when
// the other tiers have been asked. Each flight to them takes half a second at most, and hardly any key needs more than two.
// Look-ups that find nothing are charged to the address that the key came from, unless that is zero. tell does not block.
// key is not to be changed until then, and the decision aliases it.
func (r *Resolver) Ask(key []byte, from netip.Addr, tell func(Decision)) {
	prefix, ok := r.Format.Split(key)
	if !ok {
		tell(r.Metrics.decided(Decision{Reason: Malformed}))
		return
	}
	i := &inquiry{r: r, key: key, prefix: prefix, from: from, at: time.Now(), note: r.gens.note(prefix), tell: tell}
	steady := r.clock.steady(i.at)
	e, found := r.fromMemory(prefix, i.note, steady)
	r.Metrics.looked(TierMemory, found)
	switch {
	case found == hit:
		i.decide(e, false)
	case found == negative:
		i.end(Decision{Reason: NoSuchKey})
	// Who has spent what their address may ask for waits for another flight than those who have not: nobody is refused
	// because of whom they wait with.
	case r.charges.spent(from, steady):
		i.join(unpaid)
	default:
		i.join(asked)
	}
}

// Resolve waits for what Ask tells, or until ctx ends, which does not end the look-up.
func (r *Resolver) Resolve(ctx context.Context, key []byte, from netip.Addr) Decision {
	if d, known := r.Recall(key, time.Now()); known {
		return d
	}
	told := make(chan Decision, 1)
	r.Ask(key, from, func(d Decision) { told <- d })
	select {
	case d := <-told:
		return d
	case <-ctx.Done():
		return Decision{Reason: Unavailable}
	}
}

func (i *inquiry) join(why purpose) {
	i.why, i.next = why, false
	i.r.flights.join(i.prefix, why, i)
}

// landed implements waiter. A flight that was under way may have read before a look or a doubt that had been heard when
// this key came: its answer is for those who came earlier, and the next flight answers this one. Flights bound themselves:
// a waiter who did would give up just before a flight that takes all its time says what was last known.
func (i *inquiry) landed(fl *flight) {
	got := fl.answer
	if got.reason != Unavailable && got.note.before(i.note) && !i.next {
		i.next = true
		i.r.flights.join(i.prefix, i.why, i)
		return
	}
	pays := !fl.charged
	fl.charged = true
	if i.why != doubted {
		i.r.Metrics.waited(got, i.at)
	}
	switch {
	case got.entry != nil:
		i.decide(slices.Clone(got.entry), pays) // the flight's is everybody's
	case i.why == doubted:
		i.end(Decision{Reason: WrongSecret})
	default:
		if got.reason == NoSuchKey && pays {
			i.charge()
		}
		i.end(Decision{Reason: got.reason})
	}
}

// decide decides by an entry. A mismatch with one that may have changed is for the source to confirm, and whoever pays for
// that pays if it does.
func (i *inquiry) decide(e entry, pays bool) {
	d := i.r.decide(i.key, i.prefix, e, i.at)
	if d.Reason == WrongSecret {
		steady := i.r.clock.steady(i.at)
		switch {
		case i.why == doubted && pays:
			i.charge()
		case i.why != doubted && i.r.mayHaveChanged(e, steady) && !i.r.charges.spent(i.from, steady):
			i.join(doubted)
			return
		}
	}
	i.end(d)
}

func (i *inquiry) charge() { i.r.charges.charge(i.from, i.r.clock.steady(time.Now())) }

func (i *inquiry) end(d Decision) { i.tell(i.r.Metrics.decided(d)) }
