package commit

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the two distributions; all else that is exported is read from the queue and the health.
type metrics struct {
	batchRows     prometheus.Histogram
	commitSeconds prometheus.Histogram
}

func newMetrics(registerer prometheus.Registerer, q *queue, h *health) *metrics {
	register := promauto.With(registerer)
	gauge := func(name, help string, read func() float64) {
		register.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read)
	}
	counter := func(name, help, label, value string, read func(counts) uint64) {
		labels := prometheus.Labels{label: value}
		register.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, func() float64 {
			return float64(read(h.snapshot()))
		})
	}

	gauge("keygate_writer_queue_rows", "Events admitted and not yet answered.", func() float64 {
		return float64(q.load().rows)
	})
	gauge("keygate_writer_queue_bytes", "Bytes of the events admitted and not yet answered.", func() float64 {
		return float64(q.load().bytes)
	})
	gauge("keygate_writer_outage_seconds", "How long the database has taken no events; 0 while it does.", func() float64 {
		if outage := h.snapshot().outage; outage != nil {
			return time.Since(outage.Since).Seconds()
		}
		return 0
	})
	for outcome := Accepted; int(outcome) < len(outcomes); outcome++ {
		counter("keygate_writer_events_total", "Events by what became of them.", "outcome", outcome.String(),
			func(c counts) uint64 { return c.events[outcome] })
	}
	for cause := Unavailable; int(cause) < len(causes); cause++ {
		counter("keygate_writer_sink_failures_total", "Failed calls of the database by their cause.", "cause", cause.String(),
			func(c counts) uint64 { return c.failures[cause] })
	}
	const statements = "Calls of the database by kind, failed ones too. On Postgres each is one statement."
	counter("keygate_writer_statements_total", statements, "kind", "insert", func(c counts) uint64 { return c.inserts })
	counter("keygate_writer_statements_total", statements, "kind", "find", func(c counts) uint64 { return c.finds })

	return &metrics{
		batchRows: register.NewHistogram(prometheus.HistogramOpts{
			Name:    "keygate_writer_batch_rows",
			Help:    "Events in each committed batch.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11), // to 1,024
		}),
		commitSeconds: register.NewHistogram(prometheus.HistogramOpts{
			Name:    "keygate_writer_commit_seconds",
			Help:    "Time of each committed batch in the database.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15), // 0.5 ms to 8 s
		}),
	}
}
