package pgsource_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/proxy/auth/pgsource"
)

// BenchmarkLookup is one round trip; keys=none is the answer to a flood.
func BenchmarkLookup(b *testing.B) {
	db, url := ownTables(b)
	authtest.SeedKeys(b, db, "o", "zap_live_a")
	source := open(b, pgsource.Config{URL: url})
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
	db, url := ownTables(b)
	authtest.SeedKeys(b, db, "o", "zap_live_a")
	heard := make(chan time.Time, 1024)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	follower := open(b, pgsource.Config{URL: url}).Follower()
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

// BenchmarkChange is what the log costs whoever changes a key: one row of a hundred thousand, without and with triggers.
func BenchmarkChange(b *testing.B) {
	db, _ := ownTables(b)
	authtest.Exec(b, db, "insert into organizations (id, name) values ('o', 'O')")
	authtest.Exec(b, db, `insert into api_keys (org_id, prefix, key_hash)
		select 'o', 'zap_live_' || n, decode(repeat('00', 32), 'hex') from generate_series(1, 100000) n`)
	for _, triggers := range []string{"disable", "enable"} {
		authtest.Exec(b, db, fmt.Sprintf("alter table api_keys %s trigger user", triggers))
		b.Run("triggers="+triggers+"d", func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				authtest.Exec(b, db, "update api_keys set enabled = not enabled where prefix = $1",
					fmt.Sprintf("zap_live_%d", n%100000+1))
			}
		})
	}
}
