package forward_test

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/proxy/forward"
)

const (
	handshake = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n"
	switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: a\r\n\r\n"
)

// echoing switches protocols and says hello at once, then returns every byte until the client ends, and says bye.
func echoing(u *service, p *peer) {
	if _, ok := u.next(p); !ok {
		return
	}
	p.send(switching + "hello")
	_, _ = io.Copy(p.Conn, p.r)
	p.send("bye")
}

func TestATunnelCarriesBothDirectionsAndTheirEnds(t *testing.T) {
	u := startUpstream(t, echoing)
	w := &watched{cut: make(chan func(), 1)}
	p := startProxyWith(t, options{exchange: w.exchange,
		after: func(ctx *fasthttp.RequestCtx) { ctx.Response.Header.Set("X-Late", "z") }}, u.url())
	c := p.client()
	// The first bytes for the tunnel do not wait for the answer.
	c.send(handshake + "early")
	got := message{head: c.head()}
	want := "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nX-Late: z\r\n\r\n"
	if got.head != want {
		t.Errorf("answered %q", got.head)
	}
	seen := u.seen()[0]
	if seen.value("Connection") != "Upgrade" || seen.value("Upgrade") != "websocket" {
		t.Errorf("the upstream saw %q", seen.head)
	}
	expect := func(want string) {
		t.Helper()
		text := make([]byte, len(want))
		if _, err := io.ReadFull(c.r, text); err != nil || string(text) != want {
			t.Fatalf("%q, %v; want %q", text, err, want)
		}
	}
	expect("helloearly")
	long := strings.Repeat("0123456789", 100_000)
	go c.send("a\x00b" + long)
	expect("a\x00b" + long)
	closeWrite(t, c)
	expect("bye") // what the upstream says after the client's end still arrives
	if _, err := c.r.ReadByte(); err != io.EOF {
		t.Errorf("then %v", err)
	}
	eventually(t, "it has ended", func() bool { return w.ended.Load() == 1 && p.metric("connections") == 0 })
}

func TestTheUpstreamsEndLeavesTheClientsDirectionOpen(t *testing.T) {
	heard := make(chan string, 1)
	u := startUpstream(t, func(u *service, p *peer) {
		u.next(p)
		p.send(switching)
		closeWrite(t, p)
		text, _ := io.ReadAll(p.r)
		heard <- string(text)
	})
	p := startProxy(t, forward.Config{}, u.url())
	c := p.client()
	c.send(handshake)
	c.head()
	if _, err := c.r.ReadByte(); err != io.EOF {
		t.Errorf("read: %v", err)
	}
	c.send("still here")
	closeWrite(t, c)
	if got := <-heard; got != "still here" {
		t.Errorf("the upstream heard %q", got)
	}
}

func TestOnlyASwitchThatWasAskedForOpensATunnel(t *testing.T) {
	for _, test := range []struct {
		name, request, answer string
		status                int
	}{
		{"an ordinary answer", handshake, okAnswer, 200},
		{"a refusal", handshake, "HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nno", 426},
		{"another protocol", handshake, strings.Replace(switching, "WebSocket", "h2c", 1), 502},
		{"no protocol", handshake, strings.Replace(switching, "Upgrade: WebSocket\r\n", "", 1), 502},
		{"two protocols", handshake, strings.Replace(switching, "Sec-", "Upgrade: h2c\r\nSec-", 1), 502},
		{"nothing, not asked for", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", strings.Replace(switching, "WebSocket", "", 1), 502},
		{"not asked for", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", switching, 502},
		{"with a body", strings.Replace(handshake, "\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx", 1), switching, 502},
	} {
		u := startUpstream(t, always(test.answer))
		p := startProxy(t, forward.Config{}, u.url())
		c := p.client()
		c.send(test.request)
		if got := c.answer(); got.status() != test.status {
			t.Errorf("%s: answered %q: %v", test.name, got.head, p.lastError())
		}
		c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n") // no tunnel: the connection is the proxy's still
		if m, ok := c.message(false); !ok || m.status() != test.status && m.status() != 502 {
			t.Errorf("%s: then %q", test.name, m.head)
		}
		if seen := u.seen(); strings.Contains(test.name, "body") && seen[0].values("Upgrade") != nil {
			t.Errorf("%s: the upstream saw %q", test.name, seen[0].head)
		}
	}
}

func TestATunnelFollowsPipelinedAnswers(t *testing.T) {
	u := startUpstream(t, func(u *service, p *peer) {
		for {
			m, ok := u.next(p)
			if !ok {
				return
			}
			if m.value("Upgrade") != "" {
				p.send(switching)
				_, _ = io.Copy(p.Conn, p.r)
				return
			}
			p.send(okAnswer)
		}
	})
	p := startProxy(t, forward.Config{}, u.url())
	c := p.client()
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n" + handshake + "x")
	if got := c.answer(); got.body != "ok" {
		t.Errorf("answered %q", got.head)
	}
	if got := (message{head: c.head()}); got.status() != 101 {
		t.Errorf("answered %q", got.head)
	}
	if b, err := c.r.ReadByte(); b != 'x' {
		t.Errorf("echoed %q, %v", b, err)
	}
}

func TestATunnelEndsWhenItIsCutIdleOrTheForwarderCloses(t *testing.T) {
	for _, test := range []struct {
		name string
		idle time.Duration
		end  func(p *proxy, cut func())
	}{
		{"cut", 0, func(_ *proxy, cut func()) { cut() }},
		{"closed", 0, func(p *proxy, _ func()) { p.forwarder.Close() }},
		{"idle", shortLimit, func(*proxy, func()) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ended := make(chan struct{})
			u := startUpstream(t, func(u *service, p *peer) {
				echoing(u, p)
				close(ended)
			})
			w := &watched{cut: make(chan func(), 1)}
			p := startProxyWith(t, options{config: forward.Config{IdleTimeout: test.idle},
				exchange: w.exchange}, u.url())
			c := p.client()
			c.send(handshake)
			c.head()
			_, _ = c.r.Discard(len("hello"))
			test.end(p, <-w.cut)
			<-ended
			if _, err := c.r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the client's side: %v", err)
			}
		})
	}
}

// The server hands nothing over if the client is gone by then, and does not say so.
func TestATunnelThatDoesNotComeAboutEnds(t *testing.T) {
	t.Parallel()
	u := startUpstream(t, echoing)
	w := &watched{cut: make(chan func(), 1)}
	p := startProxyWith(t, options{config: forward.Config{IdleTimeout: shortLimit}, exchange: w.exchange,
		after: func(ctx *fasthttp.RequestCtx) { ctx.Conn().Close() }}, u.url())
	c := p.client()
	c.send(handshake)
	eventually(t, "it has ended", func() bool { return w.ended.Load() == 1 && p.metric("connections") == 0 })
}

func TestManyTunnelsAtOnce(t *testing.T) {
	u := startUpstream(t, echoing)
	p := startProxy(t, forward.Config{}, u.url())
	var clients sync.WaitGroup
	for range 50 {
		c := p.client()
		clients.Go(func() {
			c.send(handshake)
			c.head()
			for n := range 50 {
				text := strings.Repeat(string(rune('a'+n%26)), 1+n*37)
				c.send(text)
				got := make([]byte, len(text))
				if n == 0 {
					_, _ = c.r.Discard(len("hello"))
				}
				if _, err := io.ReadFull(c.r, got); err != nil || string(got) != text {
					t.Errorf("echoed %q, %v", got, err)
					return
				}
			}
			c.Close()
		})
	}
	clients.Wait()
	eventually(t, "all have ended", func() bool { return p.metric("connections") == 0 })
}
