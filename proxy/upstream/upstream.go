// Package upstream keeps the connections to the services that requests are forwarded to. It chooses among them, makes
// one that fails sit out, and never hands out a connection on which something lies in wait. It carries bytes, and knows
// nothing of HTTP.
package upstream

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The errors of Get.
var (
	ErrUnreachable = errors.New("no connection to the upstream")
	ErrBusy        = errors.New("all connections to the upstream are in use")
)

const (
	// failuresToEject in a row make an upstream sit out for ejectedFor, unless no other would be left.
	failuresToEject = 3
	ejectedFor      = 5 * time.Second
)

// Route sends the requests whose target begins with Prefix, byte by byte, to URL. The longest prefix wins; routes of
// the same prefix are balanced like upstreams.
type Route struct{ Prefix, URL string }

// Config is what a Set is built from. A URL is http://host[:port], https://host[:port] or unix:/path.
type Config struct {
	Upstreams []string // at least one
	Routes    []Route

	ConnectTimeout time.Duration // of dialling, the TLS handshake included; 5 s if 0
	IdleTimeout    time.Duration // of a pooled connection; 60 s if 0
	MaxConns       int           // per upstream, idle ones included; 4096 if 0

	TLS *tls.Config // for https; nil verifies against the system's authorities

	Logger     *slog.Logger // to be set
	Registerer prometheus.Registerer
}

// Set is all upstreams. Safe for concurrent use.
type Set struct {
	cfg     Config
	groups  []*Group // the longest prefix first
	targets map[string]*target
	metrics *metrics

	ctx    context.Context // of dialling
	cancel context.CancelFunc

	ejecting sync.Mutex // held while deciding that somebody sits out, since groups may share targets
}

// New checks cfg. It opens no connection.
func New(cfg Config) (*Set, error) {
	cfg.ConnectTimeout = cmp.Or(cfg.ConnectTimeout, 5*time.Second)
	cfg.IdleTimeout = cmp.Or(cfg.IdleTimeout, 60*time.Second)
	cfg.MaxConns = cmp.Or(cfg.MaxConns, 4096)
	s := &Set{cfg: cfg, targets: map[string]*target{}}
	if err := s.addTargets(); err != nil {
		return nil, err
	}
	s.metrics = newMetrics(cfg.Registerer, s.targets)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// addTargets puts the longest prefix first and the upstreams, which have none, last.
func (s *Set) addTargets() error {
	if len(s.cfg.Upstreams) == 0 {
		return errors.New("no upstream is given")
	}
	routes := slices.Clone(s.cfg.Routes)
	for _, r := range routes {
		if !strings.HasPrefix(r.Prefix, "/") {
			return fmt.Errorf("route %q: a path prefix begins with /", r.Prefix)
		}
	}
	for _, u := range s.cfg.Upstreams {
		routes = append(routes, Route{URL: u})
	}
	slices.SortStableFunc(routes, func(a, b Route) int {
		return cmp.Or(len(b.Prefix)-len(a.Prefix), strings.Compare(a.Prefix, b.Prefix))
	})
	for _, r := range routes {
		if n := len(s.groups); n == 0 || s.groups[n-1].prefix != r.Prefix {
			s.groups = append(s.groups, &Group{set: s, prefix: r.Prefix})
		}
		g := s.groups[len(s.groups)-1]
		t, err := s.target(r.URL)
		if err != nil {
			return err
		}
		g.targets = append(g.targets, t)
	}
	return nil
}

// Route returns the upstreams for the requests of a target.
func (s *Set) Route(target []byte) *Group {
	at := slices.IndexFunc(s.groups, func(g *Group) bool { return bytes.HasPrefix(target, []byte(g.prefix)) })
	return s.groups[at] // the last one has no prefix
}

// IsDefault says that these are the upstreams of what no route names.
func (g *Group) IsDefault() bool { return g.prefix == "" }

// Close ends dialling and closes idle connections. Those in use are closed when they are released.
func (s *Set) Close() {
	s.cancel()
	for _, t := range s.targets {
		t.close()
	}
}

// Group is the upstreams that share the requests of one prefix.
type Group struct {
	set     *Set
	prefix  string
	targets []*target
	turn    atomic.Uint32
}

// Get returns a connection to the least busy upstream that lets us connect: an idle one, unless fresh is asked for and
// there is room.
// Errors are ErrUnreachable and ErrBusy, of the last upstream that was tried.
func (g *Group) Get(fresh bool) (c *Conn, err error) {
	var tried []*target
	for t := g.pick(nil); t != nil; t = g.pick(tried) {
		if c, err = t.get(fresh); err == nil {
			c.group = g
			return c, nil
		}
		if !errors.Is(err, ErrBusy) {
			g.failed(t)
		}
		tried = append(tried, t)
	}
	return nil, err
}

// pick returns the upstream with the fewest exchanges under way that is not among tried, one that sits out only if there
// is no other, and nil if all were tried.
func (g *Group) pick(tried []*target) (best *target) {
	if len(g.targets) == 1 && len(tried) == 0 {
		return g.targets[0]
	}
	now, turn, least := time.Now().UnixNano(), int(g.turn.Add(1)), 0
	for k := range g.targets {
		t := g.targets[(turn+k)%len(g.targets)]
		_, load := t.counts()
		if t.outUntil.Load() > now {
			load += 1 << 30
		}
		if !slices.Contains(tried, t) && (best == nil || load < least) {
			best, least = t, load
		}
	}
	return best
}

// failed counts a failure to connect or to answer in time.
func (g *Group) failed(t *target) {
	if t.failures.Add(1) < failuresToEject {
		return
	}
	g.set.ejecting.Lock()
	defer g.set.ejecting.Unlock()
	now := time.Now()
	in := func(o *target) bool { return o.outUntil.Load() <= now.UnixNano() }
	if !in(t) || !slices.ContainsFunc(g.targets, func(o *target) bool { return o != t && in(o) }) {
		return
	}
	t.failures.Store(failuresToEject - 1) // after its return the first failure is enough
	t.outUntil.Store(now.Add(ejectedFor).UnixNano())
	g.set.metrics.ejections.WithLabelValues(t.name).Inc()
	g.set.cfg.Logger.Warn("an upstream sits out after failures in a row", "upstream", t.name, "for", ejectedFor)
}
