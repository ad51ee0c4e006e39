package serving

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keygate/shared/limit"
	"keygate/shared/problem"
)

// Metrics are the series that every HTTP side has.
type Metrics struct {
	requests [6]prometheus.Counter // by the hundreds of the status; 0 counts what fits none
	seconds  prometheus.Histogram
	problems *prometheus.CounterVec

	connections *limit.Metrics
}

// NewMetrics registers the series of a program: "proxy" or "writer".
func NewMetrics(reg prometheus.Registerer, program string) *Metrics {
	name := func(series string) string { return prometheus.BuildFQName("keygate", program, series) }
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: name("requests_total"), Help: "Requests answered, by class of status.",
	}, []string{"status"})
	m := &Metrics{
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name("request_seconds"), Help: "Time from a request's header to the header of its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		problems: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: name("problems_total"), Help: "Requests answered with a problem of this program, by its code.",
		}, []string{"code"}),
		connections: limit.NewMetrics(reg, program),
	}
	reg.MustRegister(requests, m.seconds, m.problems)
	for class := range m.requests {
		m.requests[class] = requests.WithLabelValues(label(class))
	}
	return m
}

func label(class int) string {
	if class == 0 {
		return "other"
	}
	return strconv.Itoa(class) + "xx"
}

// Served counts an answer.
func (m *Metrics) Served(status int, took time.Duration) {
	class := status / 100
	if class < 1 || class > 5 {
		class = 0
	}
	m.requests[class].Inc()
	m.seconds.Observe(took.Seconds())
}

// Refused counts a problem.
func (m *Metrics) Refused(code problem.Code) { m.problems.WithLabelValues(string(code)).Inc() }
