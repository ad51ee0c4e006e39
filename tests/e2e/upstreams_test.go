package e2e

import (
	"crypto/tls"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// named answers every request with its own name.
func named(tb testing.TB, name string) *backend {
	tb.Helper()
	return startBackend(tb, answering(name))
}

func answering(text string) func(p *peer) {
	return func(p *peer) {
		for {
			if _, ok := p.request(); !ok || !p.send(response("200 OK", text)) {
				return
			}
		}
	}
}

func TestUpstreamsShareTheRequestsAndOneThatFailsSitsOutUntilItReturns(t *testing.T) {
	t.Parallel()
	one, two := named(t, "one"), named(t, "two")
	s := newEdge(t)
	proxy := s.proxy(one.url, "--upstream", two.url)
	key, web := s.createKey("acme").Key, newClient(t)
	ask := func(times int) map[string]int {
		t.Helper()
		by := map[string]int{}
		for range times {
			got := web.do(http.MethodPost, proxy.url, "{}", "X-API-Key", key)
			if got.status != http.StatusOK {
				t.Fatalf("a request is answered %v", got)
			}
			by[string(got.body)]++
		}
		return by
	}
	if by := ask(40); by["one"] != 20 || by["two"] != 20 {
		t.Errorf("one after the other, 40 requests are shared as %v", by)
	}
	two.close()
	if by := ask(40); by["two"] != 0 {
		t.Errorf("an upstream that is gone answers: %v", by)
	}
	ejections := proxy.metric("keygate_proxy_upstream_ejections_total", two.addr)
	failures := proxy.metric("keygate_proxy_upstream_dial_failures_total", two.addr)
	if ejections < 1 || failures < 3 || failures > 10 {
		t.Errorf("it was made to sit out %v times, after %v attempts to connect", ejections, failures)
	}
	listener, err := net.Listen("tcp", two.addr)
	if err != nil {
		t.Fatal(err)
	}
	backendOn(t, listener, answering("two"))
	eventually(t, "the upstream to be asked again after its return", func() bool { return ask(2)["two"] == 1 })
	if by := ask(40); by["one"] != 20 || by["two"] != 20 {
		t.Errorf("after the return, 40 requests are shared as %v", by)
	}
}

func TestAnUpstreamMayBeASocketFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "api")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	backendOn(t, listener, answering("by socket"))
	s := newEdge(t)
	proxy := s.proxy("unix:" + path)
	got := newClient(t).get(proxy.url, "X-API-Key", s.createKey("acme").Key)
	if string(got.body) != "by socket" {
		t.Errorf("the answer is %v", got)
	}
}

func TestTheCertificateOfAnUpstreamIsVerified(t *testing.T) {
	t.Parallel()
	ours, others := newAuthority(t), newAuthority(t)
	s := newEdge(t)
	key := s.createKey("acme").Key
	plain := named(t, "plain")
	for _, test := range []struct {
		name        string
		certificate *tls.Certificate // nil: TLS is not spoken
		host        string
		status      int
	}{
		{"a good one", ours.issue(t, time.Hour, "127.0.0.1"), "127.0.0.1", 200},
		{"of another host", ours.issue(t, time.Hour, "api.example.com"), "127.0.0.1", 502},
		{"of another address", ours.issue(t, time.Hour, "127.0.0.1"), "localhost", 502},
		{"expired", ours.issue(t, -time.Minute, "127.0.0.1"), "127.0.0.1", 502},
		{"by another authority", others.issue(t, time.Hour, "127.0.0.1"), "127.0.0.1", 502},
		{"none", nil, "127.0.0.1", 502},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			addr, asked := plain.addr, new(atomic.Int64)
			if test.certificate != nil {
				listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*test.certificate}})
				if err != nil {
					t.Fatal(err)
				}
				addr = backendOn(t, listener, func(p *peer) {
					if _, ok := p.request(); ok {
						asked.Add(1)
						p.send(response("200 OK", "secret"))
					}
				}).addr
			}
			_, port, _ := net.SplitHostPort(addr)
			env := append([]string{"SSL_CERT_FILE=" + ours.file}, s.env...)
			proxy := serve(t, proxyProgram, env, "--upstream", "https://"+net.JoinHostPort(test.host, port)).ready()
			got := newClient(t).get(proxy.url, "X-API-Key", key)
			if test.status == http.StatusOK {
				if got.status != http.StatusOK || string(got.body) != "secret" {
					t.Errorf("the answer is %v", got)
				}
				return
			}
			got.refuses(t, test.status, "upstream_unreachable")
			if n := asked.Load(); n != 0 {
				t.Errorf("the upstream was sent %d requests all the same", n)
			}
		})
	}
}

// silent accepts connections and requests, and says nothing.
func silent(tb testing.TB) *backend {
	tb.Helper()
	return startBackend(tb, func(p *peer) { p.hang() })
}

// Each limit has a flag, and what it ends has a status of its own.
func TestTimeoutsEndWhatTakesTooLong(t *testing.T) {
	t.Parallel()
	const limit, long = 300 * time.Millisecond, patience / 2
	s := newEdge(t)
	key := "X-API-Key: " + s.createKey("acme").Key
	check := func(name, flag, upstream, text string, status int, code string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := s.proxy(upstream, flag, limit.String())
			w := dial(t, proxy.addr)
			began := time.Now()
			w.send(text)
			w.receive("POST").refuses(t, status, code)
			if took := time.Since(began); took < limit || took > long {
				t.Errorf("that took %v", took)
			}
		})
	}
	quiet := silent(t)
	check("connecting", "--connect-timeout", "https://"+quiet.addr, request("POST", "/", "{}", key), 502, "upstream_unreachable")
	check("the head of the answer", "--response-timeout", quiet.url, request("POST", "/", "{}", key), 504, "upstream_timeout")
	check("half a head of the answer", "--response-timeout",
		startBackend(t, func(p *peer) { p.request(); p.send("HTTP/1.1 200 OK\r\nContent-"); p.hang() }).url, request("POST", "/", "{}", key), 504, "upstream_timeout")
	check("the head of the request", "--header-timeout", quiet.url, strings.TrimSuffix(request("GET", "/", "", key), "\r\n"), 408, "request_timeout")
	check("the beginning of a first request", "--header-timeout", quiet.url, "", 408, "request_timeout")
	t.Run("a connection that is idle after a request", func(t *testing.T) {
		t.Parallel()
		proxy := s.proxy(named(t, "ok").url, "--idle-timeout", limit.String())
		w := dial(t, proxy.addr)
		w.send(request("GET", "/", "", key))
		w.receive("GET")
		if began := time.Now(); !w.isClosed() || time.Since(began) > long {
			t.Errorf("the connection goes on, after %v", time.Since(began))
		}
	})
}

// What an upstream says after it has been given up is not the answer to anything else.
func TestAnAnswerThatComesTooLateIsNobodys(t *testing.T) {
	t.Parallel()
	late := make(chan struct{})
	s := newEdge(t)
	api := startBackend(t, func(p *peer) {
		for {
			seen, ok := p.request()
			if !ok {
				return
			}
			if strings.Contains(seen.line, "/late") {
				<-late
			}
			p.send(response("200 OK", strings.Fields(seen.line)[1]))
		}
	})
	proxy := s.proxy(api.url, "--response-timeout", "200ms")
	key, web := s.createKey("acme").Key, newClient(t)
	web.get(proxy.url+"/first", "X-API-Key", key)
	web.do(http.MethodPost, proxy.url+"/late", "{}", "X-API-Key", key).refuses(t, 504, "upstream_timeout")
	close(late)
	for range 50 {
		if got := web.get(proxy.url+"/other", "X-API-Key", key); string(got.body) != "/other" {
			t.Fatalf("another request is answered %v", got)
		}
	}
}
