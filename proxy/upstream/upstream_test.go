package upstream_test

import (
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"keygate/proxy/upstream"
)

func TestNewSaysWhatIsWrongWithAnUpstream(t *testing.T) {
	newSet := func(routes []upstream.Route, urls ...string) (*upstream.Set, error) {
		return upstream.New(upstream.Config{Upstreams: urls, Routes: routes, Logger: slog.New(slog.DiscardHandler),
			Registerer: prometheus.NewRegistry()})
	}
	for _, test := range []struct{ url, want string }{
		{"", "none of http"},
		{"127.0.0.1:80", "none of http"},
		{"ftp://h", "none of http"},
		{"http://", "none of http"},
		{"http://h:port", "none of http"},
		{"unix:relative", "none of http"},
		{"http://h/path", "neither path nor query"},
		{"http://h?q", "neither path nor query"},
		{"http://h/?", "neither path nor query"},
		{"http://h#f", "neither path nor query"},
		{"http://user:s3cret@h", "may not hold user and password"},
		{"http://user:s3cret@h:port", "none of http"},
	} {
		_, err := newSet(nil, test.url)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", test.url, err)
		}
	}
	if _, err := newSet(nil); err == nil {
		t.Error("no upstream is no error")
	}
	if _, err := newSet([]upstream.Route{{Prefix: "v1", URL: "http://i"}}, "http://h"); err == nil ||
		!strings.Contains(err.Error(), "begins with /") {
		t.Errorf("a route without /: %v", err)
	}
	s, err := newSet([]upstream.Route{{Prefix: "/v1", URL: "http://h/"}}, "http://h/", "https://h", "http://[::1]:80", "unix:/a")
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Close()
}

func TestTheLongestPrefixChoosesTheUpstream(t *testing.T) {
	s := open(t, upstream.Config{Routes: []upstream.Route{
		{Prefix: "/v1/", URL: start(t, "v1").url()}, {Prefix: "/v1/events", URL: start(t, "events").url()},
	}}, start(t, "rest").url())
	for target, want := range map[string]string{"/": "rest", "/v1": "rest", "/v1/": "v1", "/v1/event": "v1",
		"/v1/events": "events", "/v1/events?a": "events", "/v1/events/x": "events", "/V1/events": "rest",
		"/v1/%65vents": "v1", "//v1/events": "rest", "/a/../v1/events": "rest", "/?/v1/events": "rest", "*": "rest"} {
		c, err := s.Route([]byte(target)).Get(false)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ask(c); got != want {
			t.Errorf("%s went to %s, %v", target, got, err)
		}
		c.Release(true)
	}
}

func TestUpstreamsShareTheRequests(t *testing.T) {
	s := open(t, upstream.Config{}, start(t, "a").url(), start(t, "b").url())
	count := map[string]int{}
	for range 20 {
		count[s.once()]++
	}
	if count["a"] != 10 || count["b"] != 10 {
		t.Errorf("%v", count)
	}
}

func TestTheLeastBusyUpstreamIsAsked(t *testing.T) {
	s := open(t, upstream.Config{}, start(t, "a").url(), start(t, "b").url())
	busy := s.get(false)
	name, _ := ask(busy)
	for range 10 {
		if got := s.once(); got == name {
			t.Errorf("%s was asked while it was busy", got)
		}
	}
	busy.Release(true)
}

func TestARefusedConnectionIsTriedAtTheOtherUpstream(t *testing.T) {
	dead := deadURL(t)
	s := open(t, upstream.Config{}, dead, start(t, "a").url())
	for range 20 {
		s.once()
	}
	if n := s.metric("ejections_total", dead); n != 1 {
		t.Errorf("%d ejections", n)
	}
	if n := s.metric("dial_failures_total", dead); n != 3 {
		t.Errorf("dialled %d times before and after it sat out", n)
	}
}

func TestTheLastUpstreamIsNeverMadeToSitOut(t *testing.T) {
	one, two := deadURL(t), deadURL(t)
	s := open(t, upstream.Config{}, one, two)
	for range 20 {
		if _, err := s.Route(nil).Get(false); !errors.Is(err, upstream.ErrUnreachable) {
			t.Fatal(err)
		}
	}
	if n := s.metric("ejections_total"); n != 1 {
		t.Errorf("%d ejections", n)
	}
	if n := s.metric("dial_failures_total"); n != 40 {
		t.Errorf("dialled %d times: somebody was not asked when all failed", n)
	}
	startOn(t, listen(t, "tcp", strings.TrimPrefix(two, "http://")), "two")
	if got := s.once(); got != "two" {
		t.Errorf("%q is back", got)
	}
}

func TestTimeoutsInARowMakeAnUpstreamSitOut(t *testing.T) {
	s := open(t, upstream.Config{}, start(t, "a").url(), start(t, "b").url())
	// exchange ends the next exchange of a in one way, and those of b before it in good order.
	exchange := func(end func(c *upstream.Conn)) {
		for {
			c := s.get(false)
			name, err := ask(c)
			if err != nil {
				t.Fatal(err)
			}
			if name == "a" {
				end(c)
			}
			c.Release(true)
			if name == "a" {
				return
			}
		}
	}
	for range 3 {
		exchange((*upstream.Conn).TimedOut)
		exchange((*upstream.Conn).TimedOut)
		exchange((*upstream.Conn).Succeeded)
	}
	if n := s.metric("ejections_total"); n != 0 {
		t.Fatalf("%d ejections after failures that were not in a row", n)
	}
	for range 3 {
		exchange((*upstream.Conn).TimedOut)
	}
	for range 10 {
		if got := s.once(); got != "b" {
			t.Errorf("%s was asked", got)
		}
	}
}

func TestAUnixSocketIsAnUpstream(t *testing.T) {
	u := startOn(t, listen(t, "unix", filepath.Join(t.TempDir(), "up")), "socket")
	s := open(t, upstream.Config{}, u.url())
	for range 3 {
		if got := s.once(); got != "socket" {
			t.Errorf("%s answered", got)
		}
	}
	if n := len(u.conns); n != 1 {
		t.Errorf("%d connections", n)
	}
}
