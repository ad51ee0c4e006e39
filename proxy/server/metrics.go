package server

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keygate/shared/problem"
)

// Metrics are the series of the data path.
type Metrics struct {
	requests [6]prometheus.Counter // by the hundreds of the status; 0 counts what no status fits
	seconds  prometheus.Histogram
	refusals *prometheus.CounterVec
}

// NewMetrics registers the series.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keygate_proxy_requests_total", Help: "Requests answered, by class of status.",
	}, []string{"status"})
	m := &Metrics{
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "keygate_proxy_request_seconds", Help: "Time from a request's header to its response header.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keygate_proxy_refusals_total", Help: "Requests that the proxy answered itself, by problem code.",
		}, []string{"code"}),
	}
	reg.MustRegister(requests, m.seconds, m.refusals)
	for class := range m.requests {
		label := strconv.Itoa(class) + "xx"
		if class == 0 {
			label = "other"
		}
		m.requests[class] = requests.WithLabelValues(label)
	}
	return m
}

func (m *Metrics) served(status int, took time.Duration) {
	class := status / 100
	if class < 1 || class > 5 {
		class = 0
	}
	m.requests[class].Inc()
	m.seconds.Observe(took.Seconds())
}

func (m *Metrics) refused(code problem.Code) { m.refusals.WithLabelValues(string(code)).Inc() }
