package forward_test

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"keygate/proxy/forward"
)

func TestAnUploadThatStallsIsCut(t *testing.T) {
	for _, test := range []struct{ name, sent string }{
		{"in a chunk", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"},
		{"streamed", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 20000)},
		{"held", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 30000\r\n\r\n" + strings.Repeat("x", 20000)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			u := startUpstream(t, func(u *service, p *peer) { u.next(p) })
			p := startProxy(t, forward.Config{IdleTimeout: shortLimit}, u.url())
			if got := p.ask(test.sent); got.status() != 408 || !errors.Is(p.lastError(), forward.ErrClientTimeout) {
				t.Errorf("answered %q: %v", got.head, p.lastError())
			}
		})
	}
}

func TestAnUpstreamThatTakesNoMoreIsGivenUp(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	u := startUpstream(t, func(*service, *peer) { <-release })
	p := startProxy(t, forward.Config{IdleTimeout: shortLimit, ResponseTimeout: shortLimit}, u.url())
	c := p.client()
	var sending sync.WaitGroup
	sending.Go(func() { upload(c, "length", 100<<20) })
	if got := c.answer(); got.status() != 504 {
		t.Errorf("answered %q: %v", got.head, p.lastError())
	}
	close(release)
	c.Close()
	sending.Wait()
}

func TestTheAnswerToALongUploadMayTakeItsTime(t *testing.T) {
	t.Parallel()
	u := startUpstream(t, always(okAnswer))
	p := startProxy(t, forward.Config{ResponseTimeout: 3 * shortLimit}, u.url())
	c := p.client()
	c.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
	<-time.After(4 * shortLimit) // more than the answer has time, once the request is complete
	c.send("0\r\n\r\n")
	if got := c.answer(); got.status() != 200 {
		t.Errorf("answered %q: %v", got.head, p.lastError())
	}
}

func TestAnAnswerThatStallsIsCut(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	u := startUpstream(t, func(u *service, p *peer) {
		u.next(p)
		p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
		<-release
	})
	p := startProxy(t, forward.Config{IdleTimeout: shortLimit}, u.url())
	if got := p.get("/"); got.body != "ok" || !got.cut {
		t.Errorf("answered %q %q, cut %t", got.head, got.body, got.cut)
	}
	close(release)
}

func TestAClientThatReadsTooSlowlyIsCut(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	u := startUpstream(t, func(u *service, p *peer) {
		u.next(p)
		p.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
		_, _ = io.CopyN(p.Conn, noise(2), 1_000_000_000)
		close(ended)
	})
	p := startProxy(t, forward.Config{IdleTimeout: shortLimit}, u.url())
	c := p.client()
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-ended
}

func TestTheAnswersHeadIsAwaitedForSoLong(t *testing.T) {
	for _, test := range []struct{ name, sent string }{
		{"nothing", ""}, {"half a head", "HTTP/1.1 200 OK\r\n"}, {"interim answers", "HTTP/1.1 100 Continue\r\n\r\n"},
	} {
		for kind, request := range map[string]string{"held": post("/", "x"),
			"streamed": "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"} {
			t.Run(test.name+", "+kind, func(t *testing.T) {
				t.Parallel()
				u := startUpstream(t, func(u *service, p *peer) {
					u.next(p)
					p.send(test.sent)
					u.next(p)
				})
				p := startProxy(t, forward.Config{ResponseTimeout: shortLimit}, u.url())
				begun := time.Now()
				if got := p.ask(request); got.status() != 504 || !errors.Is(p.lastError(), forward.ErrTimeout) {
					t.Errorf("answered %q: %v", got.head, p.lastError())
				}
				if took := time.Since(begun); took < shortLimit {
					t.Errorf("after %v", took)
				}
				if p.metric("connections") != 0 {
					t.Error("the connection is kept")
				}
			})
		}
	}
}

func TestTimeoutsMakeAnUpstreamSitOut(t *testing.T) {
	t.Parallel()
	slow := startUpstream(t, func(u *service, p *peer) { u.next(p); u.next(p) })
	fast := startUpstream(t, always(okAnswer))
	p := startProxy(t, forward.Config{ResponseTimeout: shortLimit}, slow.url(), fast.url())
	eventually(t, "it sits out", func() bool { p.get("/"); return p.metric("ejections_total", slow.url()) == 1 })
	if got := p.get("/"); got.status() != 200 {
		t.Errorf("then answered %q", got.head)
	}
}

// endless answers each request by first and then by more, until nobody takes any more of it.
func endless(first, more string, ended chan<- struct{}) func(u *service, p *peer) {
	return func(u *service, p *peer) {
		for {
			if _, ok := u.next(p); !ok {
				return
			}
			p.send(first)
			for {
				if _, err := io.WriteString(p.Conn, more); err != nil {
					ended <- struct{}{}
					return
				}
			}
		}
	}
}

func TestTrailersWithoutEndAreCut(t *testing.T) {
	ended := make(chan struct{}, 1)
	u := startUpstream(t, endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
		strings.Repeat("A: b\r\n", 100), ended))
	p := startProxy(t, forward.Config{}, u.url())
	c := p.client()
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-ended
	if got, _ := c.message(false); !got.cut {
		t.Errorf("the client takes %q for whole", got.body)
	}
}

func TestAnAnswerThatNobodyReadsEndsTheUpstreamsConnection(t *testing.T) {
	ended := make(chan struct{}, 1)
	next := make(chan struct{})
	u := startUpstream(t, func(u *service, p *peer) {
		if _, ok := u.next(p); !ok {
			return
		}
		p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
		for range next { // what is sent at last finds no client, and then there is silence
			p.send("1\r\nx\r\n")
		}
		_, _ = io.Copy(io.Discard, p.r)
		ended <- struct{}{}
	})
	p := startProxy(t, forward.Config{}, u.url())
	c := p.client()
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	c.head()
	reset(c.Conn)
	eventually(t, "the proxy notices", func() bool {
		select {
		case next <- struct{}{}:
		default:
		}
		return p.metric("connections", "active") == 0
	})
	close(next)
	<-ended
	if n := p.metric("connections", "idle"); n != 0 {
		t.Errorf("%v connections are kept", n)
	}
}
