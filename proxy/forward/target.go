package forward

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// failuresToEject in a row make an upstream sit out for ejectedFor, unless no other would be left.
	failuresToEject = 3
	ejectedFor      = 5 * time.Second
)

// group is the upstreams that share the requests of one prefix.
type group struct {
	prefix  string
	targets []*target
	turn    atomic.Uint32
}

// addTargets puts the longest prefix first and the upstreams, which have none, last.
func (f *Forwarder) addTargets() error {
	if len(f.cfg.Upstreams) == 0 {
		return errors.New("no upstream is given")
	}
	routes := slices.Clone(f.cfg.Routes)
	for _, r := range routes {
		if !strings.HasPrefix(r.Prefix, "/") {
			return fmt.Errorf("route %q: a path prefix begins with /", r.Prefix)
		}
	}
	for _, u := range f.cfg.Upstreams {
		routes = append(routes, Route{URL: u})
	}
	slices.SortStableFunc(routes, func(a, b Route) int {
		return cmp.Or(len(b.Prefix)-len(a.Prefix), strings.Compare(a.Prefix, b.Prefix))
	})
	for _, r := range routes {
		if n := len(f.groups); n == 0 || f.groups[n-1].prefix != r.Prefix {
			f.groups = append(f.groups, &group{prefix: r.Prefix})
		}
		g := f.groups[len(f.groups)-1]
		t, err := f.target(r.URL)
		if err != nil {
			return err
		}
		g.targets = append(g.targets, t)
	}
	return nil
}

// target reads an upstream URL. Groups that name the same one share it. No error quotes what may hold a password.
func (f *Forwarder) target(text string) (*target, error) {
	if t := f.targets[text]; t != nil {
		return t, nil
	}
	t := &target{f: f, name: text, network: "unix"}
	if path, ok := strings.CutPrefix(text, "unix:"); ok && strings.HasPrefix(path, "/") {
		t.address = path
		f.targets[text] = t
		return t, nil
	}
	u, err := url.Parse(text)
	if err != nil {
		u = new(url.URL)
	}
	port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	switch {
	case port == "" || u.Hostname() == "":
		return nil, errors.New("an upstream URL is none of http://host:port, https://host:port and unix:/path")
	case u.User != nil:
		return nil, fmt.Errorf("upstream %s: a URL may not hold user and password", u.Redacted())
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("upstream %q: a URL may hold neither path nor query, since requests keep their own", text)
	}
	t.network, t.address = "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
	if u.Scheme == "https" {
		if t.tls = f.cfg.TLS.Clone(); t.tls == nil {
			t.tls = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		t.tls.ServerName, t.tls.NextProtos = u.Hostname(), []string{"http/1.1"}
	}
	f.targets[text] = t
	return t, nil
}

func (f *Forwarder) route(target []byte) *group {
	at := slices.IndexFunc(f.groups, func(g *group) bool { return bytes.HasPrefix(target, []byte(g.prefix)) })
	return f.groups[at] // the last one has no prefix
}

// pick returns the upstream with the fewest exchanges under way that is not among tried, one that sits out only if there
// is no other, and nil if all were tried.
func (g *group) pick(tried []*target) (best *target) {
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

// failed counts err if it is a failure to connect or to answer in time.
func (f *Forwarder) failed(g *group, t *target, err error) {
	if !errors.Is(err, errConnecting) && !errors.Is(err, ErrTimeout) || t.failures.Add(1) < failuresToEject {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	in := func(o *target) bool { return o.outUntil.Load() <= now.UnixNano() }
	if !in(t) || !slices.ContainsFunc(g.targets, func(o *target) bool { return o != t && in(o) }) {
		return
	}
	t.failures.Store(failuresToEject - 1) // after its return the first failure is enough
	t.outUntil.Store(now.Add(ejectedFor).UnixNano())
	f.metrics.ejections.WithLabelValues(t.name).Inc()
	f.cfg.Logger.Warn("an upstream sits out after failures in a row", "upstream", t.name, "for", ejectedFor)
}
