package forward

import (
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// outcomes names the errors of Forward in metrics; an answer counts by its status, "2xx".
var outcomes = map[error]string{
	ErrUnreachable: "unreachable", ErrBadResponse: "bad_response", ErrTimeout: "timeout", ErrBusy: "busy",
	ErrBodyTooLarge: "body_too_large", ErrClientBody: "client_body", ErrClientTimeout: "client_timeout",
}

type metrics struct {
	requests                *prometheus.CounterVec
	answers                 [10]prometheus.Counter // those of requests that count answers, by the status's first digit
	dialFailures, ejections *prometheus.CounterVec
	repeats, truncated      prometheus.Counter
}

// newMetrics registers the series. Their labels are outcomes and the upstreams of the configuration.
func newMetrics(reg prometheus.Registerer, targets map[string]*target) *metrics {
	factory := promauto.With(reg)
	vector := func(name, label, help string) *prometheus.CounterVec {
		return factory.NewCounterVec(prometheus.CounterOpts{Name: "keygate_proxy_upstream_" + name, Help: help},
			[]string{label})
	}
	counter := func(name, help string) prometheus.Counter {
		return factory.NewCounter(prometheus.CounterOpts{Name: "keygate_proxy_upstream_" + name, Help: help})
	}
	m := &metrics{
		requests:     vector("requests_total", "outcome", "Forwarded requests, by class of status or by error."),
		dialFailures: vector("dial_failures_total", "upstream", "Connections that could not be opened."),
		ejections:    vector("ejections_total", "upstream", "Times that an upstream was made to sit out."),
		repeats:      counter("repeats_total", "Requests that were sent a second time."),
		truncated:    counter("truncated_total", "Answers that broke off after their head had been passed on."),
	}
	for digit := 1; digit < len(m.answers); digit++ {
		m.answers[digit] = m.requests.WithLabelValues(strconv.Itoa(digit) + "xx")
	}
	gauge := func(t *target, state string, count func() float64) {
		factory.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "keygate_proxy_upstream_connections", Help: "Open connections.",
			ConstLabels: prometheus.Labels{"upstream": t.name, "state": state},
		}, count)
	}
	for _, t := range targets {
		gauge(t, "idle", func() float64 { idle, _ := t.counts(); return float64(idle) })
		gauge(t, "active", func() float64 { _, active := t.counts(); return float64(active) })
	}
	return m
}

func (m *metrics) observe(status int, err error) {
	if err == nil {
		m.answers[status/100].Inc()
		return
	}
	for kind, name := range outcomes {
		if errors.Is(err, kind) {
			m.requests.WithLabelValues(name).Inc()
		}
	}
}
