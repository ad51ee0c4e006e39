package redisstore

import (
	"github.com/prometheus/client_golang/prometheus"
)

// How a round trip ended.
const (
	outcomeOK          = "ok"
	outcomeRefused     = "refused"     // Redis answered with an error
	outcomeTimeout     = "timeout"     // it did not answer in time
	outcomeUnreachable = "unreachable" // there was no connection, or it broke
	outcomeCancelled   = "cancelled"   // whoever asked went away
	outcomeSkipped     = "skipped"     // the breaker was open
)

// Why a subscription ended.
const (
	lostSilent = "silent" // half-open: nothing was heard for three seconds
	lostClosed = "closed"
	lostMoved  = "moved" // the server is no master of the cluster any more
)

// Metrics are what a Cache counts.
type Metrics struct {
	trips      *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	values     *prometheus.CounterVec
	breaker    prometheus.Gauge
	refused    prometheus.Gauge
	subscribed prometheus.Gauge
	lost       *prometheus.CounterVec
	changes    *prometheus.CounterVec
	distrusted prometheus.Counter
	fleet      prometheus.Gauge
}

// NewMetrics returns metrics that are registered with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		trips: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keygate_proxy_redis_round_trips_total",
			Help: "Round trips to Redis, by command and how they ended.",
		}, []string{"command", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "keygate_proxy_redis_seconds",
			Help:    "How long round trips to Redis took, by command.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1},
		}, []string{"command"}),
		values: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keygate_proxy_redis_values_total",
			Help: "Values read from Redis: absent, held, leased, forged, void (at or below the floor) or foreign.",
		}, []string{"state"}),
		breaker: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keygate_proxy_redis_breaker_open",
			Help: "1 while look-ups go on without Redis, because it did not answer.",
		}),
		refused: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keygate_proxy_redis_writes_refused",
			Help: "1 while Redis takes no writes: it is a replica, full, or cannot save.",
		}),
		subscribed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keygate_proxy_redis_subscriptions",
			Help: "Subscriptions to evictions that are up: one, or one for each master of a cluster.",
		}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keygate_proxy_redis_subscriptions_lost_total",
			Help: "Subscriptions that ended, by reason: silent (half-open), closed or moved.",
		}, []string{"reason"}),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keygate_proxy_redis_changes_total",
			Help: "Changes heard through Redis, by verb: look, remove or demote.",
		}, []string{"verb"}),
		distrusted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keygate_proxy_redis_messages_distrusted_total",
			Help: "Messages between proxies that were malformed or had no valid seal.",
		}),
		fleet: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keygate_proxy_redis_proxies",
			Help: "Proxies alive by their heartbeats, this one included.",
		}),
	}
	r.MustRegister(m.trips, m.seconds, m.values, m.breaker, m.refused, m.subscribed, m.lost, m.changes, m.distrusted, m.fleet)
	return m
}
