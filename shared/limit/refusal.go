package limit

import (
	"net/netip"
	"time"
)

// kind is which limit a connection is refused by.
type kind int

const (
	none kind = iota
	total
	address
)

// calm is how long nothing must have been refused for the end of refusing to be told. A client that connects at the limit
// again and again could fill the log otherwise.
const calm = time.Minute

// refusal keeps whether connections are being refused by one limit.
type refusal struct {
	since, last time.Time // since is zero while none are
	count       int
}

// seen is told of every connection whether it was refused by this limit.
func (r *refusal) seen(l *Listener, refused bool, from netip.Addr) {
	switch {
	case refused:
		r.last = time.Now()
		if r.count++; r.since.IsZero() {
			r.since = r.last
			l.logRefusal(r, from)
		}
	case !r.since.IsZero() && time.Since(r.last) > calm:
		l.config.Logger.Info("no longer refusing connections", "refused", r.count, "for", r.last.Sub(r.since))
		*r = refusal{}
	}
}

func (l *Listener) logRefusal(r *refusal, from netip.Addr) {
	if r == &l.full {
		l.config.Logger.Warn("refusing connections: as many are open as allowed", "limit", l.config.Total)
		return
	}
	l.config.Logger.Warn("refusing connections of an address: as many of it are open as allowed",
		"limit", l.config.PerAddress, "address", from)
}
