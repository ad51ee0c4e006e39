package upstream

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	dialFailures, ejections *prometheus.CounterVec
}

// newMetrics registers the series. Their label is an upstream of the configuration.
func newMetrics(reg prometheus.Registerer, targets map[string]*target) *metrics {
	factory := promauto.With(reg)
	vector := func(name, help string) *prometheus.CounterVec {
		return factory.NewCounterVec(prometheus.CounterOpts{Name: "keygate_proxy_upstream_" + name, Help: help},
			[]string{"upstream"})
	}
	m := &metrics{
		dialFailures: vector("dial_failures_total", "Connections that could not be opened."),
		ejections:    vector("ejections_total", "Times that an upstream was made to sit out."),
	}
	for _, t := range targets {
		gauge := func(state string, count func() int) {
			factory.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "keygate_proxy_upstream_connections", Help: "Open connections.",
				ConstLabels: prometheus.Labels{"upstream": t.name, "state": state},
			}, func() float64 { return float64(count()) })
		}
		gauge("idle", func() int { idle, _ := t.counts(); return idle })
		gauge("active", func() int { _, active := t.counts(); return active })
	}
	return m
}
