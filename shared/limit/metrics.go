package limit

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the series of a listener's connections.
type Metrics struct {
	open    prometheus.Gauge
	refused map[kind]prometheus.Counter
}

// NewMetrics registers the series of a program: "proxy" or "writer".
func NewMetrics(reg prometheus.Registerer, program string) *Metrics {
	name := func(series string) string { return prometheus.BuildFQName("keygate", program, series) }
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: name("connections_refused_total"), Help: "Connections closed at once, by the limit that was reached.",
	}, []string{"limit"})
	m := &Metrics{
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: name("connections"), Help: "Client connections that are open.",
		}),
		refused: map[kind]prometheus.Counter{
			total: refused.WithLabelValues("total"), address: refused.WithLabelValues("address"),
		},
	}
	reg.MustRegister(m.open, refused)
	return m
}
