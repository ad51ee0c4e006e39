package auth_test

import (
	"context"
	"sync"
	"testing"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
)

// newFlooded returns a fleet whose proxy a is in a flood, with no turn at its source to spare.
func newFlooded(t *testing.T) *fleet {
	f := newFleet(t, false, func(cfg *auth.Config) { cfg.SourceRate, cfg.SourceConcurrency = 40, 2 })
	authtest.Eventually(t, "a refusal", func() bool {
		var reasons [40]auth.Reason
		var all sync.WaitGroup
		for i := range reasons {
			all.Go(func() { reasons[i] = f.a.Resolve(t.Context(), mint(t).text).Reason })
		}
		all.Wait()
		for _, reason := range reasons {
			if reason == auth.Unavailable {
				return true
			}
		}
		return false
	})
	return f
}

func TestAFloodAsksRedisTogether(t *testing.T) {
	t.Parallel()
	f := newFlooded(t)
	good := f.truth.create(t)
	expect(t, "on the other proxy", f.b.settled(t, good), auth.Allowed)
	alone, together := f.a.hooks.gets.Load(), f.a.hooks.manyGets.Load()
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			if d := f.a.Resolve(t.Context(), mint(t).text); d.Outcome() == auth.Allow {
				t.Errorf("an unknown key: %v", d.Reason)
			}
		})
	}
	all.Go(func() { expect(t, "a key that Redis knows", f.a.Resolve(t.Context(), good.text), auth.Allowed) })
	all.Wait()
	alone, together = f.a.hooks.gets.Load()-alone, f.a.hooks.manyGets.Load()-together
	if alone > 20 || together == 0 || together > 100 {
		t.Errorf("Redis was asked %d times about one key and %d times about many", alone, together)
	}
}

// What was read together before the truth changed is not told afterwards.
func TestAKeyThatIsRevokedWhileAFloodIsReadIsNotServed(t *testing.T) {
	t.Parallel()
	f := newFlooded(t)
	k := f.truth.create(t)
	expect(t, "on the other proxy", f.b.settled(t, k), auth.Allowed)
	read := f.a.hooks.armFor("after get", k.prefix)
	together := f.a.hooks.manyGets.Load()
	r := f.a.resolve(t, k)
	<-read.reached
	if f.a.hooks.manyGets.Load() == together {
		t.Fatal("the key was asked about alone")
	}
	f.truth.revoke(t, k)
	f.a.Changed(auth.Change{Verb: auth.Remove, Scope: auth.Scope{Prefixes: []string{k.prefix}}})
	close(read.resume)
	if d := <-r.decided; d.Outcome() == auth.Allow {
		t.Errorf("%v after the revocation was heard", d.Reason)
	}
}

func TestAClientThatGoesTakesNothingFromTheOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, nil)
	k := f.truth.create(t)
	read := f.a.hooks.armFor("before get", k.prefix)
	other := f.a.resolve(t, k)
	<-read.reached
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	expect(t, "the one who goes", f.a.Resolve(gone, k.text), auth.Unavailable)
	close(read.resume)
	expect(t, "the other one", <-other.decided, auth.Allowed)
}
