package forward_test

import (
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/valyala/fasthttp"

	"keygate/proxy/forward"
)

// watched is what a caller that may cut long exchanges does.
type watched struct {
	began, ended atomic.Int32
	cut          chan func()
}

func (w *watched) exchange(_ *fasthttp.RequestCtx, e *forward.Exchange) {
	e.Watch = func(cut func()) func() {
		w.began.Add(1)
		w.cut <- cut
		return func() { w.ended.Add(1) }
	}
}

func TestALongExchangeCanBeCut(t *testing.T) {
	for _, test := range []struct{ name, request string }{
		{"answer", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
		{"answer by hand", "GET / HTTP/1.0\r\nHost: h\r\n\r\n"},
		{"upload", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ended := make(chan struct{})
			u := startUpstream(t, func(u *service, p *peer) {
				defer close(ended)
				if strings.HasPrefix(p.head(), "GET") {
					p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
				}
				_, _ = io.Copy(io.Discard, p.r)
			})
			w := &watched{cut: make(chan func(), 1)}
			p := startProxyWith(t, options{exchange: w.exchange}, u.url())
			c := p.client()
			c.send(test.request)
			cut := <-w.cut
			if strings.HasPrefix(test.request, "GET") {
				c.head()
			}
			cut()
			<-ended
			if got, err := io.ReadAll(c.r); err == nil {
				t.Errorf("the client got %q, and an end in good order", got)
			}
			eventually(t, "it has ended", func() bool { return w.ended.Load() == 1 })
			cut() // too late is no harm
			if w.began.Load() != 1 {
				t.Errorf("watched %d times", w.began.Load())
			}
		})
	}
}

func TestACutThatComesTooLateIsNoHarm(t *testing.T) {
	u := startUpstream(t, always("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"))
	w := &watched{cut: make(chan func(), 2)}
	p := startProxyWith(t, options{exchange: w.exchange}, u.url())
	c := p.client()
	for range 2 {
		c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if got := c.answer(); got.body != "ok" {
			t.Errorf("answered %q", got.head)
		}
		eventually(t, "the connection is given back", func() bool { return p.metric("connections", "idle") == 1 })
		(<-w.cut)()
	}
	if n, _ := u.counts(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestAShortExchangeIsNotWatched(t *testing.T) {
	u := startUpstream(t, always(okAnswer))
	w := &watched{cut: make(chan func(), 1)}
	p := startProxyWith(t, options{exchange: w.exchange}, u.url())
	p.ask(post("/", "x"))
	if n := w.began.Load(); n != 0 {
		t.Errorf("watched %d times", n)
	}
}

func TestNothingLongBeginsAfterClose(t *testing.T) {
	asked, closed := make(chan struct{}), make(chan struct{})
	u := startUpstream(t, func(u *service, p *peer) {
		u.next(p)
		close(asked)
		<-closed
		p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
		_, _ = io.Copy(io.Discard, p.r)
	})
	p := startProxy(t, forward.Config{}, u.url())
	c := p.client()
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-asked
	p.forwarder.Close()
	close(closed)
	if got := c.answer(); got.status() != 502 {
		t.Errorf("answered %q", got.head)
	}
}

func TestCloseBreaksOffWhatIsStreamed(t *testing.T) {
	u := startUpstream(t, func(u *service, p *peer) {
		u.next(p)
		p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
		_, _ = io.Copy(io.Discard, p.r)
	})
	p := startProxy(t, forward.Config{}, u.url())
	c := p.client()
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	c.head()
	p.forwarder.Close()
	if got, _ := io.ReadAll(c.r); string(got) != "2\r\nok\r\n" && string(got) != "" {
		t.Errorf("the client got %q", got)
	}
	if got := p.get("/"); got.status() != 502 {
		t.Errorf("afterwards answered %q", got.head)
	}
}
