package admin_test

import (
	"encoding/json"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"keygate/shared/admin"
)

func TestSnapshotNestsSeriesByTheirLabels(t *testing.T) {
	registry := prometheus.NewRegistry()
	lookups := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "k_lookups_total"}, []string{"outcome", "tier"})
	queue := prometheus.NewGauge(prometheus.GaugeOpts{Name: "k_queue_rows"})
	other := prometheus.NewCounter(prometheus.CounterOpts{Name: "go_something"})
	seconds := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "k_seconds", Buckets: []float64{1, 2, 4}})
	registry.MustRegister(lookups, queue, other, seconds)
	lookups.WithLabelValues("hit", "memory").Add(3)
	queue.Set(7)
	for range 100 {
		seconds.Observe(1.5)
	}
	text, err := json.Marshal(admin.Snapshot(registry, "k_"))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"lookups_total":{"memory":{"hit":3}},"queue_rows":7,` +
		`"seconds":{"count":100,"mean":1.5,"p50":1.5,"p99":1.99}}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}
