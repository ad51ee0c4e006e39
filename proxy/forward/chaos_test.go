package forward_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/proxy/forward"
)

// pattern is a body that belongs to one request alone.
func pattern(id string, n int) string {
	return strings.Repeat(id+".", n/(len(id)+1)+1)[:n]
}

// chaotic answers GET /id/length by the pattern of that id, in one of several framings, and breaks off now and then. It
// refuses to answer, loudly, a request whose body is not the pattern of its own id.
func chaotic(wrong *atomic.Int32) func(u *service, p *peer) {
	return func(u *service, p *peer) {
		for {
			m, ok := p.request()
			if !ok {
				return
			}
			parts := strings.Split(strings.Fields(m.line())[1], "/")
			length, _ := strconv.Atoi(parts[2])
			if !m.cut && m.body != pattern(parts[1], len(m.body)) {
				wrong.Add(1)
			}
			body := pattern(parts[1], length)
			switch rand.IntN(20) {
			case 0:
				return
			case 1:
				p.send("HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(length) + "\r\n\r\n" + body[:length/2])
				return
			case 2:
				p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strconv.FormatInt(int64(length), 16) + "\r\n" + body[:length/2])
				reset(p.Conn)
				return
			case 3, 4, 5, 6, 7, 8:
				p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
				w := httputil.NewChunkedWriter(p.Conn)
				_, _ = io.WriteString(w, body[:length/2])
				_, _ = io.WriteString(w, body[length/2:])
				w.Close()
				p.send("\r\n")
			case 9: // and an answer that nobody asked for
				p.send("HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(length) + "\r\n\r\n" + body +
					"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
			default:
				p.send("HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(length) + "\r\n\r\n" + body)
			}
		}
	}
}

func TestNoAnswerReachesAnotherRequest(t *testing.T) {
	const clients = 16
	each := 10_000 / clients
	if raceEnabled {
		each = 3_000 / clients
	}
	var wrong, whole, asked atomic.Int32
	var cuts sync.Mutex
	cutLater := map[*fasthttp.RequestCtx]func(){}
	u := startUpstream(t, chaotic(&wrong))
	p := startProxyWith(t, options{
		config: forward.Config{IdleTimeout: 20 * time.Second, ResponseTimeout: 20 * time.Second},
		exchange: func(ctx *fasthttp.RequestCtx, e *forward.Exchange) {
			e.Watch = func(cut func()) func() {
				cuts.Lock()
				defer cuts.Unlock()
				for _, other := range cutLater { // a revocation of somebody else's key
					if rand.IntN(20) == 0 {
						go other()
					}
				}
				cutLater[ctx] = cut
				return func() {
					cuts.Lock()
					defer cuts.Unlock()
					delete(cutLater, ctx)
				}
			}
		},
	}, u.url())
	var running sync.WaitGroup
	for n := range clients {
		running.Go(func() {
			var c *peer
			for i := range each {
				if c == nil {
					c = p.client()
				}
				id := fmt.Sprintf("%d-%d", n, i)
				asked.Add(1)
				ok, again := converse(c, id, &wrong)
				if ok {
					whole.Add(1)
				}
				if !again {
					c.Close()
					c = nil
				}
			}
			if c != nil {
				c.Close()
			}
		})
	}
	running.Wait()
	if wrong.Load() > 0 {
		t.Errorf("%d bodies were somebody else's", wrong.Load())
	}
	if whole.Load() < asked.Load()/4 {
		t.Errorf("only %d of %d answers were whole", whole.Load(), asked.Load())
	}
	eventually(t, "no connection is in use", func() bool { return p.metric("connections", "active") == 0 })
	t.Logf("%d of %d answers whole, %v truncated, %v repeats", whole.Load(), asked.Load(), p.metric("truncated_total"), p.metric("repeats_total"))
}

// converse sends one request and reads its answer, or disconnects somewhere in between.
func converse(c *peer, id string, wrong *atomic.Int32) (whole, again bool) {
	_ = c.SetDeadline(time.Now().Add(2 * patience))
	length := []int{1, 100, 5000, 70_000}[rand.IntN(4)]
	sent := pattern(id, []int{0, 10, 9000, 70_000}[rand.IntN(4)])
	request := fmt.Sprintf("POST /%s/%d HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", id, length, len(sent), sent)
	if rand.IntN(3) == 0 {
		request = fmt.Sprintf("POST /%s/%d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", id, length)
		if len(sent) > 0 {
			request += fmt.Sprintf("%x\r\n%s\r\n", len(sent), sent)
		}
		request += "0\r\n\r\n"
	}
	disconnect := rand.IntN(4)
	if disconnect == 0 {
		c.send(request[:rand.IntN(len(request))])
		if rand.IntN(2) == 0 {
			reset(c.Conn)
		}
		return false, false
	}
	c.send(request)
	if disconnect == 1 {
		_, _ = c.r.Discard(rand.IntN(20)) // of what has come, which may be any part
		_, _ = c.r.Discard(rand.IntN(c.r.Buffered() + 1))
		return false, false
	}
	m, ok := c.message(false)
	if !ok || m.status() != 200 {
		return false, ok && m.value("Connection") != "close" && !m.cut
	}
	if m.body != pattern(id, len(m.body)) {
		wrong.Add(1)
		c.tb.Logf("%s got %.100q", id, m.body)
	}
	return !m.cut && len(m.body) == length, !m.cut && m.value("Connection") != "close"
}
