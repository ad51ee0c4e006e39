package auth

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

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

// Way is how a change is heard.
type Way uint8

// The ways.
const (
	ChangeLog Way = iota
	Endpoint
	DEL
)

var wayNames = [...]string{ChangeLog: "change_log", Endpoint: "endpoint", DEL: "del"}

var verbNames = map[Verb]string{Look: "look", Remove: "remove", Demote: "demote"}

// Metrics are the series of one Resolver. Labels are drawn from the fixed sets above: never keys or organisations.
type Metrics struct {
	lookups   [len(tierNames)][lookups]prometheus.Counter
	decisions [len(reasonNames)]prometheus.Counter
	lastKnown prometheus.Counter
	queries   prometheus.Counter
	changes   map[Verb]prometheus.Counter

	waits       [len(tierNames)]prometheus.Observer
	waitsVain   prometheus.Observer
	revocations [len(wayNames)]prometheus.Observer
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
	m.observers(reg)
	return m
}

const revocationHelp = `From a change to the moment since which no answer of this process is older than it, by how it was
heard. change_log: from the statement, by the database's clock, once for each prefix. endpoint: from the call until every
living proxy had confirmed, where all did. del: from Redis's message until nothing was found in the place of the copy's
record; the copy is not served meanwhile.`

func (m *Metrics) observers(reg prometheus.Registerer) {
	waits := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "keygate_proxy_lookup_seconds",
		Help: "How long requests waited for what memory could not answer at once, by the tier that answered: redis, source, " +
			"memory (a last known answer) or none.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1},
	}, []string{"tier"})
	revocations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "keygate_proxy_revocation_seconds", Help: strings.ReplaceAll(revocationHelp, "\n", " "),
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60, 600},
	}, []string{"way"})
	reg.MustRegister(waits, revocations)
	for tier, name := range tierNames {
		m.waits[tier] = waits.WithLabelValues(name)
	}
	m.waitsVain = waits.WithLabelValues("none")
	for way, name := range wayNames {
		m.revocations[way] = revocations.WithLabelValues(name)
	}
}

func (m *Metrics) waited(a answer, since time.Time) {
	observer := m.waits[a.tier]
	if a.reason.Outcome() == Unknown {
		observer = m.waitsVain
	}
	observer.Observe(time.Since(since).Seconds())
}

// revoked counts once for each prefix, and once for all of them.
func (m *Metrics) revoked(way Way, took time.Duration, scope Scope) {
	for range max(1, len(scope.Prefixes)) {
		m.revocations[way].Observe(max(0, took).Seconds())
	}
}

// Invalidated counts an invalidation that every living proxy has confirmed.
func (m *Metrics) Invalidated(took time.Duration, scope Scope) { m.revoked(Endpoint, took, scope) }

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
