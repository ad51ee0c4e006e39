package sqlitesource

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the series of one Follower, those of package pgsource. A nil Metrics counts nothing.
type Metrics struct {
	connected prometheus.Gauge
	lost      prometheus.Counter
	doubts    prometheus.Counter
	lag       prometheus.Histogram
}

// NewMetrics registers the series.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keygate_proxy_changelog_connected",
			Help: "1 while the change log of the source is followed.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keygate_proxy_changelog_lost_total",
			Help: "Times that the connection to the change log was lost or could not be made.",
		}),
		doubts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keygate_proxy_changelog_doubts_total",
			Help: "Times that changes may have been missed on a live connection, and all copies were demoted.",
		}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "keygate_proxy_changelog_lag_seconds",
			Help:    "From the statement that changed a key to the reading of its row, on the database's clock.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 30, 300},
		}),
	}
	reg.MustRegister(m.connected, m.lost, m.doubts, m.lag)
	return m
}

func (m *Metrics) following(yes bool) {
	switch {
	case m == nil:
	case yes:
		m.connected.Set(1)
	default:
		m.connected.Set(0)
	}
}

func (m *Metrics) losing() {
	if m != nil {
		m.lost.Inc()
	}
}

func (m *Metrics) doubting() {
	if m != nil {
		m.doubts.Inc()
	}
}

func (m *Metrics) reading(seconds float64) {
	if m != nil {
		m.lag.Observe(seconds)
	}
}
