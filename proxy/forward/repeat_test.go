package forward_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"keygate/proxy/forward"
)

func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// phases are the points at which an upstream may break a connection that it has accepted. Each serves one connection and
// returns how many requests it has seen whole: those it may have executed.
var phases = []struct {
	name string
	fail func(u *service, p *peer)
}{
	{"on accepting", func(_ *service, p *peer) { reset(p.Conn) }},
	{"closing on accepting", func(*service, *peer) {}},
	{"in the head of the request", func(_ *service, p *peer) { _, _ = p.r.ReadByte(); reset(p.Conn) }},
	{"after the request", func(u *service, p *peer) { u.next(p); reset(p.Conn) }},
	{"closing after the request", func(u *service, p *peer) { u.next(p) }},
	{"in the status line", func(u *service, p *peer) { u.next(p); p.send("HTTP/1.1 2"); reset(p.Conn) }},
	{"in the head of the answer", func(u *service, p *peer) { u.next(p); p.send("HTTP/1.1 200 OK\r\nA: b\r\n"); reset(p.Conn) }},
	{"in the body of the answer", func(u *service, p *peer) {
		u.next(p)
		p.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
		reset(p.Conn)
	}},
}

func TestARequestIsExecutedAtMostOnceUnlessItMayBeRepeated(t *testing.T) {
	for _, test := range []struct {
		name, request string
		idempotent    []string
		most          int // connections that may see it
	}{
		{"POST", post("/p", "body"), nil, 1},
		{"POST without a body", "POST /p HTTP/1.1\r\nHost: h\r\n\r\n", nil, 1},
		{"PUT", "PUT /p HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", nil, 1},
		{"PATCH", "PATCH /p HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", nil, 1},
		{"DELETE", "DELETE /p HTTP/1.1\r\nHost: h\r\n\r\n", nil, 1},
		{"GET", "GET /p HTTP/1.1\r\nHost: h\r\n\r\n", nil, 1}, // its connection is new, so it did not grow stale
		{"GET with a body", "GET /p HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx", nil, 1},
		{"a long POST", post("/p", strings.Repeat("x", 100_000)), []string{"/"}, 1},
		{"a POST in chunks", "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", []string{"/"}, 1},
		{"POST beside the prefix", post("/p", "body"), []string{"/q", "/p/"}, 1},
		{"idempotent POST", post("/p", "body"), []string{"/q", "/p"}, 2},
		{"idempotent DELETE", "DELETE /p HTTP/1.1\r\nHost: h\r\n\r\n", []string{"/"}, 2},
	} {
		for _, phase := range phases {
			t.Run(test.name+", broken "+phase.name, func(t *testing.T) {
				t.Parallel()
				u := startUpstream(t, phase.fail)
				p := startProxy(t, forward.Config{Idempotent: test.idempotent}, u.url())
				if got := p.ask(test.request); got.status() != 502 || !errors.Is(p.lastError(), forward.ErrUnreachable) {
					t.Errorf("answered %q: %v", got.head, p.lastError())
				}
				n, executed := u.counts()
				if executed > test.most || n > 2 {
					t.Errorf("%d connections, %d executions", n, executed)
				}
				// If the connection broke before anything was sent, another attempt is as good as the first.
				if n != test.most && !strings.Contains(phase.name, "on accepting") {
					t.Errorf("%d connections, want %d", n, test.most)
				}
				if got := p.metric("repeats_total"); got != float64(n-1) {
					t.Errorf("%v repeats", got)
				}
			})
		}
	}
}

// A pooled connection that breaks when it is used again is no proof that the request was not executed. Once an answer has
// begun, it certainly was.
func TestOnAPooledConnectionASafeRequestIsRepeatedOnce(t *testing.T) {
	for _, test := range []struct {
		method string
		most   int
	}{{"GET", 2}, {"HEAD", 2}, {"OPTIONS", 2}, {"POST", 1}, {"DELETE", 1}, {"PUT", 1}} {
		for n, phase := range phases[2:] {
			t.Run(test.method+", broken "+phase.name, func(t *testing.T) {
				t.Parallel()
				u := startUpstream(t, func(u *service, p *peer) {
					if _, ok := u.next(p); ok {
						p.send(okAnswer)
						phase.fail(u, p)
					}
				})
				p := startProxy(t, forward.Config{}, u.url())
				p.get("/first")
				c := p.client()
				c.send(test.method + " /p HTTP/1.1\r\nHost: h\r\n\r\n")
				head := c.head()
				most := test.most
				if n >= 3 {
					most = 1
				}
				if test.method == "HEAD" && n == 5 {
					return // to HEAD, that is a whole answer
				}
				want := map[int]int{1: 502, 2: 200}[most]
				if (message{head: head}).status() != want {
					t.Errorf("answered %q: %v", head, p.lastError())
				}
				if n, _ := u.counts(); n != most {
					t.Errorf("%d connections, want %d", n, most)
				}
			})
		}
	}
}

func TestARefusalOfARepeatedSafeRequestIsPassedOn(t *testing.T) {
	u := startUpstream(t, func(u *service, p *peer) {
		if _, ok := u.next(p); !ok {
			return
		}
		if n, _ := u.counts(); n > 1 {
			p.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy")
			return
		}
		p.send(okAnswer)
		u.next(p) // and breaks off
	})
	p := startProxy(t, forward.Config{}, u.url())
	p.get("/1")
	if got := p.get("/2"); got.status() != 503 || got.body != "busy" {
		t.Errorf("answered %q: %v", got.head, p.lastError())
	}
}

func TestATimeoutIsNeverRepeated(t *testing.T) {
	t.Parallel()
	u := startUpstream(t, func(u *service, p *peer) { u.next(p); u.next(p) })
	p := startProxy(t, forward.Config{Idempotent: []string{"/"}, ResponseTimeout: shortLimit}, u.url())
	if got := p.ask(post("/", "x")); got.status() != 504 {
		t.Errorf("answered %q", got.head)
	}
	if n := p.metric("repeats_total"); n != 0 {
		t.Errorf("%v repeats", n)
	}
}

func TestNobodyWaitsForAFreeConnection(t *testing.T) {
	release, waiting := make(chan struct{}), make(chan struct{})
	u := startUpstream(t, func(u *service, p *peer) {
		u.next(p)
		close(waiting)
		<-release
		p.send(okAnswer)
	})
	p := startProxyWith(t, options{maxConns: 1, config: forward.Config{Idempotent: []string{"/"}}}, u.url())
	c := p.client()
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-waiting
	if got := p.get("/"); got.status() != 503 || !errors.Is(p.lastError(), forward.ErrBusy) || p.metric("repeats_total") != 0 {
		t.Errorf("answered %q: %v", got.head, p.lastError())
	}
	close(release)
	if got := c.answer(); got.status() != 200 {
		t.Errorf("answered %q", got.head)
	}
}

func TestARefusalIsAskedAgainOnceUnderAnIdempotentPrefix(t *testing.T) {
	const refusal = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\nbusy"
	for _, test := range []struct {
		name    string
		answers []string
		path    string
		status  int
		asked   int
	}{
		{"then accepted", []string{refusal, okAnswer}, "/yes", 200, 2},
		{"refused again", []string{refusal, refusal, okAnswer}, "/yes", 503, 2},
		{"then broken", []string{refusal, ""}, "/yes", 502, 2},
		{"after one that broke", []string{"", refusal}, "/yes", 502, 2}, // the first may have been executed
		{"then broken in the body", []string{refusal, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"}, "/yes", 502, 2},
		{"not idempotent", []string{refusal, okAnswer}, "/no", 503, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			answers := make(chan string, 8)
			for _, text := range test.answers {
				answers <- text
			}
			close(answers)
			u := startUpstream(t, func(u *service, p *peer) {
				for {
					if _, ok := u.next(p); !ok {
						return
					}
					text := <-answers
					p.send(text)
					if !strings.HasSuffix(text, "busy") && !strings.HasSuffix(text, "ok") {
						return
					}
				}
			})
			p := startProxy(t, forward.Config{Idempotent: []string{"/yes"}}, u.url())
			got := p.ask(post(test.path, "event"))
			if got.status() != test.status {
				t.Errorf("answered %q: %v", got.head, p.lastError())
			}
			if got.status() == 503 && (got.body != "busy" || got.value("Retry-After") != "1") {
				t.Errorf("answered %q %q", got.head, got.body)
			}
			requests := u.seen()
			if len(requests) != test.asked {
				t.Fatalf("asked %d times", len(requests))
			}
			for _, m := range requests[1:] {
				if m != requests[0] {
					t.Errorf("asked for %q, then for %q", requests[0].head, m.head)
				}
			}
		})
	}
}

func TestARefusedConnectionIsTriedAgainUnderAnIdempotentPrefix(t *testing.T) {
	dead := startUpstream(t, always(okAnswer))
	dead.stop()
	p := startProxy(t, forward.Config{Idempotent: []string{"/yes"}}, dead.url())
	for path, want := range map[string]float64{"/no": 1, "/yes": 2} {
		before := p.metric("dial_failures_total")
		if got := p.get(path); got.status() != 502 {
			t.Errorf("answered %q", got.head)
		}
		if got := p.metric("dial_failures_total") - before; got != want {
			t.Errorf("%s: dialled %v times", path, got)
		}
	}
}

// Whatever the upstream says or does on a connection that is not in use makes that connection useless, and harmless.
func TestAPooledConnectionIsNotUsedOnceSomethingCanBeRead(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(c net.Conn)
	}{
		{"another answer", func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil") }},
		{"one byte", func(c net.Conn) { _, _ = c.Write([]byte{'\n'}) }},
		{"the end", func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() }},
		{"a reset", reset},
	} {
		for _, kind := range []string{"held", "streamed"} {
			t.Run(test.name+", then a request "+kind, func(t *testing.T) {
				pooled, acted := make(chan struct{}), make(chan struct{})
				u := startUpstream(t, func(u *service, p *peer) {
					for n := 0; ; n++ {
						if _, ok := u.next(p); !ok {
							return
						}
						p.send(okAnswer)
						if first, _ := u.counts(); first == 1 && n == 0 {
							<-pooled
							test.do(p.Conn)
							close(acted)
						}
					}
				})
				p := startProxy(t, forward.Config{}, u.url())
				p.get("/1")
				eventually(t, "it is pooled", func() bool { return p.metric("connections", "idle") == 1 })
				close(pooled)
				<-acted
				request := post("/2", "x")
				if kind == "streamed" {
					request = "POST /2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
				}
				if got := p.ask(request); got.status() != 200 || got.body != "ok" {
					t.Errorf("answered %q %q", got.head, got.body)
				}
				if n, m := u.counts(); n != 2 || m != 2 {
					t.Errorf("%d connections, %d requests", n, m)
				}
			})
		}
	}
}

// An upstream that closes idle connections after a time makes many of them stale; none of that is to be seen.
func TestStaleConnectionsAreNotNoticed(t *testing.T) {
	u := startUpstream(t, func(u *service, p *peer) {
		for n := 0; n < 3; n++ {
			if _, ok := u.next(p); !ok {
				return
			}
			p.send(okAnswer)
		}
	})
	p := startProxy(t, forward.Config{}, u.url())
	c := p.client()
	for n := range 300 {
		c.send(post("/p", fmt.Sprint(n)))
		if got := c.answer(); got.status() != 200 {
			// The end of the connection may be on its way while the request is: that cannot be told from an execution.
			t.Logf("request %d: %v", n, p.lastError())
		}
		p.waitForEnds(u)
	}
	if _, m := u.counts(); m != 300 {
		t.Errorf("%d requests", m)
	}
}

// waitForEnds waits until the upstream has closed what it is going to close.
func (p *proxy) waitForEnds(u *service) {
	p.tb.Helper()
	eventually(p.tb, "closed", func() bool {
		n, m := u.counts()
		u.mu.Lock()
		defer u.mu.Unlock()
		return m < 3*n || len(u.open) == 0
	})
}

func TestAnswersAreReadWhereverTheyAreSplit(t *testing.T) {
	const answer = "HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\nC: d\r\n\r\n"
	u := startUpstream(t, func(u *service, p *peer) {
		for {
			m, ok := u.next(p)
			if !ok {
				return
			}
			var at int
			_, _ = fmt.Sscanf(m.line(), "GET /%d ", &at)
			p.send(answer[:at])
			runtime.Gosched()
			p.send(answer[at:])
		}
	})
	p := startProxy(t, forward.Config{}, u.url())
	c := p.client()
	for at := range len(answer) {
		c.send(fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: h\r\n\r\n", at))
		if got := c.answer(); got.status() != 200 || got.body != "ok" {
			t.Fatalf("split at %d: %q %q", at, got.head, got.body)
		}
	}
}
