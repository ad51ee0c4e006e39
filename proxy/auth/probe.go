package auth

import (
	"context"
	"time"
)

const (
	// probeInterval is how soon a tier that was away is known to be back, where no request asks it: keys in memory do
	// not. A question a second costs nothing.
	probeInterval = time.Second
	probeTimeout  = 500 * time.Millisecond
)

// probe asks the shared cache now and then, which also keeps its clock in sight, and the source while it fails.
func (r *Resolver) probe(ctx context.Context) {
	for pause(ctx, probeInterval) {
		r.probeOnce(ctx)
	}
}

// No key has the empty prefix.
const noPrefix = ""

func (r *Resolver) probeOnce(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if r.Cache != nil {
		if reading, err := r.Cache.Get(limited, noPrefix); err == nil {
			r.clock.heard(reading.Now, time.Now())
		}
	}
	if r.gate.healthy() {
		return
	}
	r.Metrics.queried()
	_, err := r.Source.Lookup(limited, noPrefix)
	r.gate.told(err)
}
