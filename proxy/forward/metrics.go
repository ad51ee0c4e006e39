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
	requests           *prometheus.CounterVec
	answers            [10]prometheus.Counter // those of requests that count answers, by the status's first digit
	repeats, truncated prometheus.Counter
}

// newMetrics registers the series. Their label is an outcome.
func newMetrics(reg prometheus.Registerer) *metrics {
	factory := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return factory.NewCounter(prometheus.CounterOpts{Name: "keygate_proxy_upstream_" + name, Help: help})
	}
	m := &metrics{
		requests: factory.NewCounterVec(prometheus.CounterOpts{Name: "keygate_proxy_upstream_requests_total",
			Help: "Forwarded requests, by class of status or by error."}, []string{"outcome"}),
		repeats:   counter("repeats_total", "Requests that were sent a second time."),
		truncated: counter("truncated_total", "Answers that broke off after their head had been passed on."),
	}
	for digit := 1; digit < len(m.answers); digit++ {
		m.answers[digit] = m.requests.WithLabelValues(strconv.Itoa(digit) + "xx")
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
