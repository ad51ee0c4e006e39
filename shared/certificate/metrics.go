package certificate

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the series of a listener's TLS.
type Metrics struct {
	expiry          prometheus.Gauge
	loaded, refused prometheus.Counter
	failed          prometheus.Counter
}

// NewMetrics registers the series of a program: "proxy" or "writer".
func NewMetrics(reg prometheus.Registerer, program string) *Metrics {
	name := func(series string) string { return prometheus.BuildFQName("keygate", program, series) }
	reloads := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: name("tls_certificate_reloads_total"), Help: "Certificates found in replaced files, by whether they could be used.",
	}, []string{"outcome"})
	m := &Metrics{
		expiry: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: name("tls_certificate_expiry_timestamp_seconds"), Help: "When the TLS certificate in use expires, in Unix time.",
		}),
		loaded: reloads.WithLabelValues("loaded"), refused: reloads.WithLabelValues("refused"),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: name("tls_handshakes_failed_total"), Help: "Connections that ended before their TLS handshake did.",
		}),
	}
	reg.MustRegister(m.expiry, reloads, m.failed)
	return m
}
