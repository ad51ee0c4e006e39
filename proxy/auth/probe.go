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

// probe asks the source once, so that the first look-up may expect an answer, and then the shared cache now and then,
// which also keeps its clock in sight, and the source while it fails.
func (r *Resolver) probe(ctx context.Context) {
	r.askOnce(ctx)
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
		asked := time.Now()
		reading, err := r.Cache.Get(limited, noPrefix)
		if err == nil {
			if jump := r.clock.probed(reading.Now, asked, time.Now()); jump > clockJump {
				r.Logger.Warn("the clocks of Redis and of this machine have jumped apart: what is cached is verified", "by", jump)
				r.doubtClock(jump)
			}
		}
	}
	if !r.gate.healthy() {
		r.askOnce(limited)
	}
}

func (r *Resolver) askOnce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, _ = r.query(ctx, noPrefix) // the gate is told
}
