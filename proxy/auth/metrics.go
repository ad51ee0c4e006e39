package auth

import "github.com/prometheus/client_golang/prometheus"

// lookup says what a tier answered.
type lookup uint8

const (
	hit lookup = iota
	negative
	stale   // memory: a copy that may not answer without being refreshed
	miss    // nothing that may be used
	failure // out of reach, or over its deadline
	refused // source: over budget, or left alone after failures
	lookups
)

var lookupNames = [lookups]string{"hit", "negative", "stale", "miss", "failure", "refused"}

var verbNames = map[Verb]string{Look: "look", Remove: "remove", Demote: "demote"}

// Metrics are the series of one Resolver. Labels are drawn from the fixed sets above: never keys or organisations.
type Metrics struct {
	lookups   [len(tierNames)][lookups]prometheus.Counter
	decisions [len(reasonNames)]prometheus.Counter
	lastKnown prometheus.Counter
	queries   prometheus.Counter
	changes   map[Verb]prometheus.Counter
}

// NewMetrics registers the series.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	m := &Metrics{
		lastKnown: counter("keygate_proxy_last_known_total",
			"Decisions made by a copy that could not be refreshed, within --stale-if-error."),
		queries: counter("keygate_proxy_source_queries_total", "Queries sent to the source of keys."),
		changes: make(map[Verb]prometheus.Counter),
	}
	tiers := vector("keygate_proxy_lookups_total", "Look-ups of a prefix, by tier and what it answered.", "tier", "outcome")
	for tier, name := range tierNames {
		for l, outcome := range lookupNames {
			m.lookups[tier][l] = tiers.WithLabelValues(name, outcome)
		}
	}
	decisions := vector("keygate_proxy_decisions_total", "Decisions about presented keys, by reason.", "reason")
	for r, name := range reasonNames {
		m.decisions[r] = decisions.WithLabelValues(name)
	}
	changes := vector("keygate_proxy_changes_total", "Changes heard about copies in memory, by what they do.", "verb")
	for verb, name := range verbNames {
		m.changes[verb] = changes.WithLabelValues(name)
	}
	return m
}

func (m *Metrics) looked(t Tier, l lookup) { m.lookups[t][l].Inc() }
func (m *Metrics) queried()                { m.queries.Inc() }
func (m *Metrics) changed(v Verb)          { m.changes[v].Inc() }

func (m *Metrics) decided(d Decision) Decision {
	m.decisions[d.Reason].Inc()
	if d.LastKnown {
		m.lastKnown.Inc()
	}
	return d
}
