package commit_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"keygate/writer/commit"
	"keygate/writer/sinktest"
)

func TestMetricsCountEventsAndStatements(t *testing.T) {
	registry := prometheus.NewRegistry()
	f := start(t, commit.Config{Registerer: registry, QueueRows: 10})
	e := sinktest.NewEvent("a", "order-1")
	f.submit(e)
	again := *e
	again.ID = sinktest.NewEvent("a", "").ID
	f.submit(&again)
	f.sink.inject(first(1, failAndNotPersist(commit.Unavailable)))
	f.submit(sinktest.NewEvents("a", 3)...)
	f.Submit(t.Context(), sinktest.NewEvents("a", 11))

	f.await("the success after the failure is noted", func() bool { return f.Stats().Outage == nil })

	got := gather(t, registry)
	for name, want := range map[string]float64{
		"keygate_writer_events_total accepted":           4,
		"keygate_writer_events_total duplicate":          1,
		"keygate_writer_events_total queue_full":         11,
		"keygate_writer_events_total conflict":           0,
		"keygate_writer_statements_total insert":         5, // the probe and the failed one too
		"keygate_writer_statements_total find":           1,
		"keygate_writer_sink_failures_total unavailable": 1,
		"keygate_writer_sink_failures_total refused":     0,
		"keygate_writer_queue_rows":                      0,
		"keygate_writer_queue_bytes":                     0,
		"keygate_writer_outage_seconds":                  0,
		"keygate_writer_batch_rows":                      3,
		"keygate_writer_commit_seconds":                  3,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s is %v, want %v", name, value, want)
		}
	}
	stats := f.Stats()
	if stats.Inserts != 5 || stats.Finds != 1 || stats.Batches != 3 || stats.MeanRows != 5.0/3 ||
		stats.Events["accepted"] != 4 || stats.Events["queue_full"] != 11 {
		t.Errorf("the statistics are %+v", stats)
	}
}

// gather returns each metric's value, or how often it was observed, by its name and the value of its label.
func gather(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := family.GetName()
			for _, label := range metric.GetLabel() {
				name += " " + label.GetValue()
			}
			values[name] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue() +
				float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return values
}
