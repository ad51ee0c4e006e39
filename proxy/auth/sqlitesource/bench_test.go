package sqlitesource_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/proxy/auth/sqlitesource"
)

// BenchmarkLookup reads the file; keys=none is the answer to a flood.
func BenchmarkLookup(b *testing.B) {
	db, path := ownTables(b)
	authtest.SeedKeys(b, db, "o", "zap_live_a")
	source := open(b, sqlitesource.Config{Path: path})
	for keys, prefix := range map[string]string{"one": "zap_live_a", "none": "zap_live_b"} {
		b.Run("keys="+keys, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := source.Lookup(b.Context(), prefix); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDelivery is a revocation from its commit to its delivery, as one client makes them one after the other.
func BenchmarkDelivery(b *testing.B) {
	db, path := ownTables(b)
	authtest.SeedKeys(b, db, "o", "zap_live_a")
	heard := make(chan time.Time, 1024)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	follower := open(b, sqlitesource.Config{Path: path}).Follower()
	go func() { ended <- follower.Run(ctx, func(auth.Change) { heard <- time.Now() }) }()
	<-heard // the demotion; then what was logged while seeding
	<-heard
	var took []time.Duration
	for b.Loop() {
		authtest.Exec(b, db, "update api_keys set enabled = not enabled where prefix = 'zap_live_a'")
		committed := time.Now()
		took = append(took, max(0, (<-heard).Sub(committed)))
	}
	cancel()
	<-ended
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkPoll is what following costs fifty times a second while nothing happens.
func BenchmarkPoll(b *testing.B) {
	db, _ := ownTables(b)
	counter, err := db.Prepare("pragma data_version")
	if err != nil {
		b.Fatal(err)
	}
	defer counter.Close()
	b.ReportAllocs()
	for b.Loop() {
		var version int64
		if err := counter.QueryRow().Scan(&version); err != nil {
			b.Fatal(err)
		}
	}
}
