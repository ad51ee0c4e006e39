package fastpath

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics say how the requests went that loops have read.
type Metrics struct{ answered, refused, handedOver, takenUp prometheus.Counter }

// NewMetrics registers the series.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	requests := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "keygate_proxy_fastpath_requests_total",
		Help: "Requests read by event loops: answered there, refused there because of their key, handed over to a goroutine, " +
			"or taken up by one halfway.",
	}, []string{"way"})
	return &Metrics{
		answered: requests.WithLabelValues("answered"), refused: requests.WithLabelValues("refused"),
		handedOver: requests.WithLabelValues("handed_over"), takenUp: requests.WithLabelValues("taken_up"),
	}
}
