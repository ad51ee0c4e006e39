package server

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"keygate/proxy/auth"
)

// fates answers each question with the next reason, the last one for ever.
type fates struct {
	reasons []auth.Reason
	keys    []string
}

func (f *fates) Resolve(_ context.Context, key []byte, _ netip.Addr) auth.Decision {
	f.keys = append(f.keys, string(key))
	reason := f.reasons[0]
	if len(f.reasons) > 1 {
		f.reasons = f.reasons[1:]
	}
	return auth.Decision{Reason: reason}
}

func TestALongExchangeIsCutOnceItsKeyIsDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fates{reasons: []auth.Reason{auth.Allowed, auth.Unavailable, auth.Revoked}}
		key := []byte("key")
		begun := time.Now()
		cut := make(chan time.Duration, 1)
		stop := (&Server{Config: Config{Auth: f}}).watch(key, func() { cut <- time.Since(begun) })
		copy(key, "xxx") // the request's buffers are used again while the exchange goes on
		if after := <-cut; after != 3*recheckEvery {
			t.Errorf("cut after %v", after)
		}
		stop()
		<-time.After(10 * recheckEvery)
		synctest.Wait()
		if len(f.keys) != 3 || f.keys[0] != "key" {
			t.Errorf("asked about %q", f.keys)
		}
	})
}

func TestAnExchangeThatHasEndedIsNotAskedAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fates{reasons: []auth.Reason{auth.Revoked}}
		stop := (&Server{Config: Config{Auth: f}}).watch([]byte("key"), func() { t.Error("cut") })
		stop()
		<-time.After(10 * recheckEvery)
		synctest.Wait()
		if len(f.keys) > 0 {
			t.Errorf("asked about %q", f.keys)
		}
	})
}
