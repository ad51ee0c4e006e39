package fault

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// An outage is something that is away for a while. What customers may notice of it follows from what can still be asked.
type outage struct {
	name       string
	begin, end func(*fleet)
	redis      bool     // look-ups can still ask Redis
	source     bool     // look-ups can still ask PostgreSQL
	writable   bool     // operators can still write to PostgreSQL
	emptied    bool     // Redis has lost what it had
	restart    bool     // the second proxy is killed meanwhile, and starts again
	degraded   []string // what /readyz is to name meanwhile, at least
}

// fleet is two proxies, whose copies live short.
type fleet struct {
	*ground
	edges   []*edge
	web     *http.Client
	known   []apiKey // in use
	idle    []apiKey // used before
	fresh   []apiKey // never used
	revoked []apiKey // and known to be
	doomed  []apiKey // known, to be removed meanwhile
	absent  []apiKey // in no table

	mu      sync.Mutex
	removed []removal
}

// removal is a key that was refused by proxies that have heard of it, and is never to pass again.
type removal struct {
	key   apiKey
	heard []*edge
}

const (
	fleetSize     = 2
	knownKeys     = 150
	idleKeys      = 20
	freshKeys     = 40
	fleetCacheTTL = 3 * time.Second
	fleetRate     = 100 // look-ups a second by each proxy
	control       = 2 * time.Second
	outageLasts   = 6 * time.Second // longer than records are fresh, so that all of them are last known ones
)

var fleetArgs = []string{"--cache-ttl", "3s", "--redis-ttl", "4s", "--stale-if-error", "60s", "--negative-ttl", "1s",
	"--source-rate", fmt.Sprint(fleetRate), "--source-concurrency", "4"}

// newFleet starts proxies over empty tiers, and has them know their keys.
func (g *ground) newFleet(args ...string) *fleet {
	g.tb.Helper()
	g.do("flushall")
	f := &fleet{ground: g, web: newWeb(g.tb)}
	all := g.mint(knownKeys + idleKeys + freshKeys + 3 + 2)
	take := func(n int) (keys []apiKey) { keys, all = all[:n], all[n:]; return keys }
	f.known, f.idle, f.fresh, f.revoked, f.doomed = take(knownKeys), take(idleKeys), take(freshKeys), take(3), take(2)
	f.absent = unminted(g.tb, 200)
	for range fleetSize {
		f.edges = append(f.edges, g.newEdge(append(fleetArgs, args...)...))
	}
	for _, e := range f.edges {
		e.ready()
		f.learns(e, slices.Concat(f.known, f.idle, f.revoked, f.doomed), http.StatusOK)
	}
	g.revoke(f.revoked...)
	for _, e := range f.edges {
		f.learns(e, f.revoked, http.StatusUnauthorized)
	}
	for _, k := range f.revoked {
		f.removed = append(f.removed, removal{k, f.edges})
	}
	return f
}

// learns waits until a proxy answers for keys.
func (f *fleet) learns(e *edge, keys []apiKey, status int) {
	f.tb.Helper()
	for _, k := range keys {
		eventually(f.tb, fmt.Sprint("a key to be answered ", status), func() bool { return e.ask(f.web, k.Key).status == status })
	}
}

// finding is what was seen of an outage.
type finding struct {
	outage
	fleet                *fleet
	before, during       *phase
	idle, unknown, fresh tally
	restarted            tally         // of the proxy that was started meanwhile, about keys that are known
	way                  string        // in which two keys were removed
	refused              time.Duration // after that
	violations           int           // removed keys that were let through
	readyz               []string      // what it names as degraded
	recovered            time.Duration
	lookups              int // within two seconds of the end
	warnings             int
}

// tally is what some questions were answered.
type tally struct {
	mu      sync.Mutex
	answers map[int]int
	slowest time.Duration
	noRetry int // 503 that do not say when to try again
}

func (t *tally) note(got told) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.answers == nil {
		t.answers = make(map[int]int)
	}
	t.answers[got.status]++
	t.slowest = max(t.slowest, got.took)
	if got.status == http.StatusServiceUnavailable && got.retry == "" {
		t.noRetry++
	}
}

// only says whether every answer had this status, and there were some.
func (t *tally) only(status int) bool { return len(t.answers) == 1 && t.answers[status] > 0 }

func (t *tally) String() string {
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(t.answers)) {
		parts = append(parts, fmt.Sprintf("%d × %d", t.answers[status], status))
	}
	return strings.Join(parts, ", ")
}

// suffer goes through an outage with proxies of its own.
func (g ground) suffer(t *testing.T, o outage) *finding {
	g.tb = t
	f := g.newFleet()
	steady := f.edges
	if o.restart {
		steady = f.edges[:1]
	}
	seen := &finding{outage: o, fleet: f}
	customers := newCustomers(g.tb, steady, f.known)
	defer customers.end()
	<-time.After(control / 2) // the first second is for connections
	customers.begin()
	<-time.After(control)
	seen.before = customers.begin()
	execute(g.tb, g.url, "select pg_stat_statements_reset()")
	o.begin(f)
	began := time.Now()
	stop := f.keepAsking(seen, steady)
	if o.restart {
		f.edges[1].kill()
		f.edges[1].start()
		listens(g.tb, f.edges[1])
	}
	f.remove(seen)
	<-time.After(outageLasts - time.Since(began))
	for _, e := range f.edges {
		counts := &seen.idle
		if e != steady[0] && o.restart {
			counts = &seen.restarted
		}
		for _, k := range f.idle {
			counts.note(e.ask(f.web, k.Key))
		}
		seen.readyz = append(seen.readyz, e.degraded()...)
	}
	seen.during = customers.begin()
	stop()
	f.recover(seen)
	customers.end()
	for _, e := range f.edges {
		seen.warnings = max(seen.warnings, strings.Count(e.log.String(), "level=WARN")+strings.Count(e.log.String(), "level=ERROR"))
		e.kill()
	}
	slices.Sort(seen.readyz)
	seen.readyz = slices.Compact(seen.readyz)
	return seen
}

func listens(tb testing.TB, e *edge) {
	tb.Helper()
	eventually(tb, "a proxy to listen", func() bool { return e.ask(visitor, "no key").status != 0 })
}

// keepAsking asks for keys that nobody knows, and for some that were revoked, until it is told to stop.
func (f *fleet) keepAsking(seen *finding, steady []*edge) (stop func()) {
	quit := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			e := steady[n%len(steady)]
			seen.unknown.note(e.ask(f.web, f.absent[n%len(f.absent)].Key))
			if n%2 == 0 && n/2 < len(f.fresh)-fleetSize {
				seen.fresh.note(e.ask(f.web, f.fresh[n/2].Key))
			}
			seen.violations += f.passing()
		}
	})
	return func() { close(quit); group.Wait() }
}

// passing asks for the keys that were removed, where that was heard, and returns how many are let through.
func (f *fleet) passing() (n int) {
	f.mu.Lock()
	removed := slices.Clone(f.removed)
	f.mu.Unlock()
	for _, r := range removed {
		for _, e := range r.heard {
			if e.ask(f.web, r.key.Key).status == http.StatusOK {
				n++
			}
		}
	}
	return n
}

// remove has two known keys removed in a way that is left, and waits until they are refused where it was heard.
func (f *fleet) remove(seen *finding) {
	f.tb.Helper()
	heard := f.edges
	began := time.Now()
	if seen.writable {
		f.revoke(f.doomed...)
	}
	switch {
	case seen.source:
		seen.way = "UPDATE"
	case seen.redis:
		seen.way = "endpoint, DEL"
		prefixes := []string{f.doomed[0].Prefix}
		if seen.emptied { // a DEL of what does not stand there is silent
			seen.way = "endpoint"
			prefixes = append(prefixes, f.doomed[1].Prefix)
		}
		r, err := f.edges[0].invalidate(map[string]any{"prefixes": prefixes})
		if err != nil || !r.Complete && !seen.restart {
			f.tb.Errorf("%s: an invalidation is answered %+v, %v", seen.name, r, err)
		}
		f.do("del", "org:prefix:"+f.doomed[1].Prefix)
	default:
		seen.way = "endpoint of one"
		heard = f.edges[:1]
		r, err := f.edges[0].invalidate(map[string]any{"prefixes": []string{f.doomed[0].Prefix, f.doomed[1].Prefix}})
		if err != nil || r.Complete || r.Proxies != nil {
			f.tb.Errorf("%s: an invalidation that reaches nobody else is answered %+v, %v", seen.name, r, err)
		}
	}
	for _, e := range heard {
		for _, k := range f.doomed {
			eventually(f.tb, "a removed key to be refused", func() bool { return e.ask(f.web, k.Key).status != http.StatusOK })
		}
	}
	seen.refused = time.Since(began)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range f.doomed {
		f.removed = append(f.removed, removal{k, heard})
	}
}

// recover ends the outage, and waits until all is as before.
func (f *fleet) recover(seen *finding) {
	f.tb.Helper()
	seen.end(f)
	began, before := time.Now(), 0
	if seen.source {
		before = f.lookups()
	}
	for i, e := range f.edges {
		fresh := f.fresh[len(f.fresh)-1-i]
		eventually(f.tb, seen.name+": a new key to be known", func() bool { return e.ask(f.web, fresh.Key).status == http.StatusOK })
		eventually(f.tb, seen.name+": nothing to be degraded", func() bool { return len(e.degraded()) == 0 })
	}
	seen.recovered = time.Since(began)
	<-time.After(2*time.Second - time.Since(began))
	seen.lookups = f.lookups() - before
	f.revoke(f.doomed...)
	for _, e := range f.edges {
		f.learns(e, slices.Concat(f.known, f.idle), http.StatusOK)
		f.learns(e, slices.Concat(f.doomed, f.revoked), http.StatusUnauthorized)
	}
	f.removed = append(f.removed, removal{f.doomed[0], f.edges}, removal{f.doomed[1], f.edges})
	seen.violations += f.passing()
}
