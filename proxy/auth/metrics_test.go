package auth_test

import (
	"testing"
	"time"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
)

// observed returns how much a histogram has seen under a value of its one label, and the sum in seconds.
func (p *proxy) observed(tb testing.TB, name, value string) (count uint64, sum float64) {
	tb.Helper()
	families, err := p.series.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && m.GetLabel()[0].GetValue() == value {
				return m.GetHistogram().GetSampleCount(), m.GetHistogram().GetSampleSum()
			}
		}
	}
	tb.Fatalf("there is no %s of %s", name, value)
	return 0, 0
}

const (
	revocations = "keygate_proxy_revocation_seconds"
	waits       = "keygate_proxy_lookup_seconds"
)

func TestRevocationsAreTimedByHowTheyWereHeard(t *testing.T) {
	t.Parallel()
	truth, began := newTruth(t), time.Now()
	p := newProxy(t, settings{truth: truth, follow: true})
	heard := func(changes uint64) {
		t.Helper()
		authtest.Eventually(t, "all changes", func() bool {
			count, _ := p.observed(t, revocations, "change_log")
			return count == changes
		})
	}
	truth.insert(t, mint(t), mint(t), mint(t))
	heard(3)
	truth.exec(t, "update api_keys set enabled = 0")
	heard(6)
	if _, sum := p.observed(t, revocations, "change_log"); sum <= 0 || sum > 6*time.Since(began).Seconds() {
		t.Errorf("%v seconds in all, within %v", sum, time.Since(began))
	}

	f := newFleet(t, false, nil)
	k := f.known(t)
	del(t, f.operator, k)
	authtest.Eventually(t, "void copy", func() bool { // one may find the record that the other has filled since
		a, _ := f.a.observed(t, revocations, "del")
		b, _ := f.b.observed(t, revocations, "del")
		return a+b > 0
	})
	f.a.Metrics.Invalidated(time.Second, auth.Scope{Prefixes: []string{"a", "b"}})
	f.a.Metrics.Invalidated(time.Second, auth.Scope{All: true})
	if count, sum := f.a.observed(t, revocations, "endpoint"); count != 3 || sum != 3 {
		t.Errorf("the endpoint: %d in %v seconds", count, sum)
	}
}

// What a proxy reads again when it starts was heard by others in its time.
func TestWhatChangedBeforeAProxyStartedIsNotTimed(t *testing.T) {
	t.Parallel()
	truth := newTruth(t)
	k := truth.create(t)
	truth.revoke(t, k)
	p := newProxy(t, settings{truth: truth, follow: true})
	if count, _ := p.observed(t, revocations, "change_log"); count != 0 {
		t.Errorf("%d changes were timed", count)
	}
	later := truth.create(t)
	authtest.Eventually(t, "the next change", func() bool {
		count, _ := p.observed(t, revocations, "change_log")
		return count == 1
	})
	expect(t, "later", p.settled(t, later), auth.Allowed)
}

func TestWaitsAreTimedByTheTierThatAnswered(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, nil)
	k := f.truth.create(t)
	want := map[string]uint64{}
	ask := func(p *proxy, k testKey, reason auth.Reason, tier string) {
		t.Helper()
		expect(t, tier, p.Resolve(t.Context(), k.text), reason)
		want[tier]++
		for name, n := range want {
			if got, _ := f.a.observed(t, waits, name); got != n {
				t.Errorf("%d waits for %s, want %d", got, name, n)
			}
		}
	}
	ask(f.a, k, auth.Allowed, "source")
	ask(f.a, mint(t), auth.NoSuchKey, "source")
	other := f.truth.create(t)
	expect(t, "elsewhere", f.b.settled(t, other), auth.Allowed)
	ask(f.a, other, auth.Allowed, "redis")
	f.sourceDown(true)
	ask(f.a, mint(t), auth.Unavailable, "none")
}

func TestWaitsForLastKnownAnswersAreTimed(t *testing.T) {
	t.Parallel()
	f := newFleet(t, false, briefly)
	k := f.known(t)
	f.sourceDown(true)
	f.server.Kill()
	authtest.Eventually(t, "last known answer", func() bool { return f.a.Resolve(t.Context(), k.text).LastKnown })
	if count, _ := f.a.observed(t, waits, "memory"); count == 0 {
		t.Error("no last known answer was timed")
	}
	f.server.Start()
}
