package forward_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"keygate/proxy/forward"
)

func TestNewSaysWhatIsWrongWithAnUpstream(t *testing.T) {
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
		_, err := forward.New(forward.Config{Upstreams: []string{test.url}})
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", test.url, err)
		}
	}
	if _, err := forward.New(forward.Config{}); err == nil {
		t.Error("no upstream is no error")
	}
	_, err := forward.New(forward.Config{Upstreams: []string{"http://h"}, Routes: []forward.Route{{Prefix: "v1", URL: "http://i"}}})
	if err == nil || !strings.Contains(err.Error(), "begins with /") {
		t.Errorf("a route without /: %v", err)
	}
	f, err := forward.New(forward.Config{Upstreams: []string{"http://h/", "https://h", "http://[::1]:8080", "unix:/a"},
		Routes: []forward.Route{{Prefix: "/v1", URL: "http://h/"}}})
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	f.Close()
}

func named(name string) func(u *upstream, p *peer) {
	return always(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(name), name))
}

func TestTheLongestPrefixChoosesTheUpstream(t *testing.T) {
	rest, v1, events := startUpstream(t, named("rest")), startUpstream(t, named("v1")), startUpstream(t, named("events"))
	p := startProxy(t, forward.Config{Upstreams: []string{rest.url()}, Routes: []forward.Route{
		{Prefix: "/v1/", URL: v1.url()}, {Prefix: "/v1/events", URL: events.url()}}})
	for target, want := range map[string]string{"/": "rest", "/v1": "rest", "/v1/": "v1", "/v1/event": "v1",
		"/v1/events": "events", "/v1/events?a": "events", "/v1/events/x": "events", "/V1/events": "rest",
		"/v1/%65vents": "v1", "//v1/events": "rest", "/a/../v1/events": "rest", "/?/v1/events": "rest"} {
		if got := p.get(target); got.body != want {
			t.Errorf("%s went to %s", target, got.body)
		}
	}
}

func TestUpstreamsShareTheRequests(t *testing.T) {
	a, b := startUpstream(t, named("a")), startUpstream(t, named("b"))
	p := startProxy(t, forward.Config{Upstreams: []string{a.url(), b.url()}})
	for range 20 {
		p.get("/")
	}
	_, na := a.counts()
	_, nb := b.counts()
	if na < 5 || nb < 5 {
		t.Errorf("%d and %d", na, nb)
	}
}

func TestTheLeastBusyUpstreamIsAsked(t *testing.T) {
	release := make(chan struct{})
	slow := startUpstream(t, func(u *upstream, p *peer) {
		u.next(p)
		<-release
		p.send(okAnswer)
	})
	fast := startUpstream(t, named("fast"))
	p := startProxy(t, forward.Config{Upstreams: []string{slow.url(), fast.url()}})
	var waiting sync.WaitGroup
	stuck := func() bool { _, n := slow.counts(); return n == 1 }
	for !stuck() { // until one request hangs
		c := p.client()
		c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		waiting.Go(func() { c.answer() })
		eventually(t, "it arrives", func() bool {
			_, n := slow.counts()
			_, m := fast.counts()
			return n+m > 0
		})
	}
	for range 10 {
		if got := p.get("/"); got.body != "fast" {
			t.Errorf("answered %q", got.body)
		}
	}
	close(release)
	waiting.Wait()
}

func TestARefusedConnectionIsTriedAtTheOtherUpstream(t *testing.T) {
	dead := listen(t, "tcp", "127.0.0.1:0")
	dead.Close()
	u := startUpstream(t, always(okAnswer))
	deadURL := "http://" + dead.Addr().String()
	p := startProxy(t, forward.Config{Upstreams: []string{deadURL, u.url()}})
	for n := range 20 {
		request := post("/", "x")
		if n%2 == 0 {
			request = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
		}
		if got := p.ask(request); got.status() != 200 {
			t.Fatalf("answered %q: %v", got.head, p.lastError())
		}
	}
	if _, n := u.counts(); n != 20 {
		t.Errorf("%d requests", n)
	}
	if n := p.metric("ejections_total", deadURL); n != 1 {
		t.Errorf("%v ejections", n)
	}
	if n := p.metric("dial_failures_total", deadURL); n != 3 {
		t.Errorf("dialled %v times before and after it sat out", n)
	}
}

func TestTheLastUpstreamIsNeverMadeToSitOut(t *testing.T) {
	one := listen(t, "tcp", "127.0.0.1:0")
	two := listen(t, "tcp", "127.0.0.1:0")
	one.Close()
	two.Close()
	p := startProxy(t, forward.Config{Upstreams: []string{"http://" + one.Addr().String(), "http://" + two.Addr().String()}})
	for range 20 {
		if got := p.get("/"); got.status() != 502 {
			t.Fatalf("answered %q", got.head)
		}
	}
	if n := p.metric("ejections_total"); n != 1 {
		t.Errorf("%v ejections", n)
	}
	if n := p.metric("dial_failures_total"); n != 40 {
		t.Errorf("dialled %v times: somebody was not asked when all failed", n)
	}
	startUpstreamOn(t, listen(t, "tcp", two.Addr().String()), always(okAnswer))
	if got := p.get("/"); got.status() != 200 {
		t.Errorf("back, it answered %q", got.head)
	}
}

func TestTimeoutsMakeAnUpstreamSitOut(t *testing.T) {
	slow := startUpstream(t, func(u *upstream, p *peer) { u.next(p); u.next(p) })
	fast := startUpstream(t, always(okAnswer))
	p := startProxy(t, forward.Config{Upstreams: []string{slow.url(), fast.url()}, ResponseTimeout: 20 * time.Millisecond})
	failed := 0
	for range 30 {
		if got := p.get("/"); got.status() == 504 {
			failed++
		}
	}
	if failed != 3 {
		t.Errorf("%d requests timed out", failed)
	}
}

func TestOnlyFailuresInARowMakeAnUpstreamSitOut(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	shaky := startUpstream(t, func(u *upstream, p *peer) {
		for {
			if _, ok := u.next(p); !ok {
				return
			}
			mu.Lock()
			asked++
			silent := asked%3 != 0 // two of three requests go unanswered
			mu.Unlock()
			if !silent {
				p.send(okAnswer)
			}
		}
	})
	fine := startUpstream(t, always(okAnswer))
	p := startProxy(t, forward.Config{Upstreams: []string{shaky.url(), fine.url()}, ResponseTimeout: 20 * time.Millisecond})
	eventually(t, "it is asked twelve times", func() bool {
		p.get("/")
		mu.Lock()
		defer mu.Unlock()
		return asked >= 12
	})
	if n := p.metric("ejections_total"); n != 0 {
		t.Errorf("%v ejections", n)
	}
}

func TestAUnixSocketIsAnUpstream(t *testing.T) {
	l := listen(t, "unix", filepath.Join(t.TempDir(), "up"))
	u := startUpstreamOn(t, l, always(okAnswer))
	p := startProxyWith(t, options{config: forward.Config{Upstreams: []string{u.url()}}, network: "unix"})
	for range 3 {
		if got := p.get("/"); got.body != "ok" {
			t.Errorf("answered %q", got.head)
		}
	}
	if n, _ := u.counts(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// secure starts an upstream behind TLS with the certificate of net/http/httptest, which is made out to example.com.
func secure(t *testing.T, serve func(u *upstream, p *peer)) (*upstream, *tls.Config) {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	certificates := s.TLS.Certificates
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	s.Close()
	l := tls.NewListener(listen(t, "tcp", "127.0.0.1:0"), &tls.Config{Certificates: certificates, NextProtos: []string{"http/1.1"}})
	return startUpstreamOn(t, l, serve), &tls.Config{RootCAs: roots}
}

func TestTLSIsVerified(t *testing.T) {
	u, trusted := secure(t, always(okAnswer))
	_, port, _ := net.SplitHostPort(u.Addr().String())
	for _, test := range []struct {
		name, url string
		config    *tls.Config
		status    int
	}{
		{"trusted", "https://127.0.0.1:" + port, trusted, 200},
		{"another name", "https://localhost:" + port, trusted, 502},
		{"an unknown authority", "https://127.0.0.1:" + port, nil, 502},
		{"not spoken", "http://127.0.0.1:" + port, nil, 502},
	} {
		p := startProxy(t, forward.Config{Upstreams: []string{test.url}, TLS: test.config})
		for range 3 {
			if got := p.ask(post("/", "x")); got.status() != test.status {
				t.Errorf("%s: answered %q: %v", test.name, got.head, p.lastError())
			}
		}
		if test.status == 200 && p.metric("connections", "idle") != 1 {
			t.Errorf("%s: the connection is not used again", test.name)
		}
	}
}

func TestAPooledTLSConnectionThatWasClosedIsNotUsed(t *testing.T) {
	u, trusted := secure(t, always(okAnswer))
	p := startProxy(t, forward.Config{Upstreams: []string{"https://" + u.Addr().String()}, TLS: trusted})
	for n := range 20 {
		if got := p.ask(post("/", "x")); got.status() != 200 {
			t.Fatalf("request %d: answered %q: %v", n, got.head, p.lastError())
		}
		u.dropAll()
	}
}

func TestConnectingIsBounded(t *testing.T) {
	u := startUpstream(t, func(_ *upstream, p *peer) { _, _ = io.Copy(io.Discard, p.r) }) // it never answers a ClientHello
	p := startProxy(t, forward.Config{Upstreams: []string{"https://" + u.Addr().String()},
		ConnectTimeout: 100 * time.Millisecond})
	start := time.Now()
	if got := p.get("/"); got.status() != 502 || !errors.Is(p.lastError(), forward.ErrUnreachable) {
		t.Errorf("answered %q: %v", got.head, p.lastError())
	}
	if took := time.Since(start); took < 100*time.Millisecond || took > 2*time.Second {
		t.Errorf("after %v", took)
	}
}

func TestTheAnswersHeadIsAwaitedForSoLong(t *testing.T) {
	for _, test := range []struct{ name, sent string }{
		{"nothing", ""}, {"half a head", "HTTP/1.1 200 OK\r\n"}, {"interim answers", "HTTP/1.1 100 Continue\r\n\r\n"},
	} {
		for _, request := range []string{post("/", "x"), "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"} {
			u := startUpstream(t, func(u *upstream, p *peer) {
				u.next(p)
				p.send(test.sent)
				u.next(p)
			})
			p := startProxy(t, forward.Config{Upstreams: []string{u.url()}, ResponseTimeout: 100 * time.Millisecond})
			start := time.Now()
			if got := p.ask(request); got.status() != 504 || !errors.Is(p.lastError(), forward.ErrTimeout) {
				t.Errorf("%s: answered %q: %v", test.name, got.head, p.lastError())
			}
			if took := time.Since(start); took < 100*time.Millisecond || took > 2*time.Second {
				t.Errorf("%s: after %v", test.name, took)
			}
			if p.metric("connections") != 0 {
				t.Errorf("%s: the connection is kept", test.name)
			}
		}
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	release, waiting := make(chan struct{}), make(chan struct{}, 8)
	u := startUpstream(t, func(u *upstream, p *peer) {
		for {
			if _, ok := u.next(p); !ok {
				return
			}
			waiting <- struct{}{}
			<-release
			p.send(okAnswer)
		}
	})
	p := startProxy(t, forward.Config{Upstreams: []string{u.url()}, MaxConns: 2, Idempotent: []string{"/"}})
	var clients []*peer
	for range 2 {
		c := p.client()
		c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		<-waiting
		clients = append(clients, c)
	}
	if got := p.get("/"); got.status() != 503 || !errors.Is(p.lastError(), forward.ErrBusy) {
		t.Errorf("answered %q: %v", got.head, p.lastError())
	}
	close(release)
	for _, c := range clients {
		if got := c.answer(); got.status() != 200 {
			t.Errorf("answered %q", got.head)
		}
	}
	if got := p.get("/"); got.status() != 200 {
		t.Errorf("afterwards answered %q", got.head)
	}
	if n, _ := u.counts(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

func TestIdleConnectionsAreClosedInTime(t *testing.T) {
	ended := make(chan struct{})
	u := startUpstream(t, func(u *upstream, p *peer) {
		always(okAnswer)(u, p)
		ended <- struct{}{}
	})
	p := startProxy(t, forward.Config{Upstreams: []string{u.url()}, IdleTimeout: 100 * time.Millisecond})
	start := time.Now()
	p.get("/")
	<-ended
	if took := time.Since(start); took < 100*time.Millisecond || took > 2*time.Second {
		t.Errorf("after %v", took)
	}
	eventually(t, "it is forgotten", func() bool { return p.metric("connections") == 0 })
	go func() { <-ended }()
	if got := p.get("/"); got.status() != 200 {
		t.Errorf("then answered %q", got.head)
	}
}
