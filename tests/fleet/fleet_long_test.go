//go:build long

package main

import (
	"testing"
	"time"
)

// The figures are what the program prints. What is tested is what holds on a machine that is busy, too.
func TestEveryRevocationReachesEveryProxy(t *testing.T) {
	b := newBench(t)
	const keys = 200
	for _, w := range ways {
		t.Run(w.Name, func(t *testing.T) {
			r, err := measureWay(t.Context(), b, w, keys, 400)
			if err != nil {
				t.Fatal(err)
			}
			if r.Missed+r.Back+r.Untimely > 0 {
				t.Errorf("%d of %d keys were missed, %d let through again, %d after they were called refused everywhere",
					r.Missed, keys, r.Back, r.Untimely)
			}
			if r.Refused.P50 > 1000 {
				t.Errorf("half of the keys were let through for %v ms", r.Refused.P50)
			}
			if r.CustomersServed < r.CustomersSent {
				t.Errorf("%d of %d customers were not served", r.CustomersSent-r.CustomersServed, r.CustomersSent)
			}
			most := keys * fleetSize
			if w.metric == "endpoint" {
				most = keys
			}
			// A DEL that is found by another's fill in its place is not counted as one.
			if least := most - most/4; r.Exported > most || r.Exported < least || w.metric == "change_log" && r.Exported != most {
				t.Errorf("the proxies have counted %d of %d", r.Exported, most)
			}
			t.Logf("refused by all after %v ms; exported p50 at most %v ms", r.Refused, r.ExportedP50)
		})
	}
}

func TestOldAnswersEndWithTheirBound(t *testing.T) {
	b := newBench(t)
	for _, row := range bounds {
		t.Run(row.Name, func(t *testing.T) {
			r, err := measureBound(t.Context(), b, row)
			if err != nil {
				t.Fatal(err)
			}
			const busy = 1000
			if r.Missed > 0 || r.WorstMS > r.BoundMS+busy {
				t.Errorf("%d keys were let through for ever, and others for %v ms of %v", r.Missed, r.WorstMS, r.BoundMS)
			}
			t.Logf("%v ms of %v", r.WorstMS, r.BoundMS)
		})
	}
}

func TestAFloodTakesNothingFromGoodKeys(t *testing.T) {
	r, err := measureFlood(t.Context(), newBench(t), options{rounds: 2, phase: 2 * time.Second, sourceRate: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if r.Wrong > 0 || r.Forgotten > goodKeys/20 {
		t.Errorf("%d good keys are refused, and %v were forgotten", r.Wrong, r.Forgotten)
	}
	// The rate of prefixes never seen is half of --source-rate, and as many may come at once.
	const rate, burst = 500, 500
	for name, rounds := range r.Rounds {
		for _, one := range rounds {
			if one.Served < 0.99 {
				t.Errorf("%s: %v of the customers were served", name, one.Served)
			}
			if most := float64(fleetSize * (rate + burst/2)); one.Source > most*1.1 {
				t.Errorf("%s: the database was asked %v times a second", name, one.Source)
			}
			if most := r.RSSBefore + 128<<20; one.MaxRSS > most {
				t.Errorf("%s: %d bytes were resident, %d before", name, one.MaxRSS, r.RSSBefore)
			}
		}
	}
	t.Log("\n" + r.table())
}
