package forward_test

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/http/httputil"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keygate/proxy/forward"
)

// A client must get each piece before the upstream, which waits for that, sends the next one: 100 times both ways.
func TestEachPieceOfAnAnswerReachesTheClientAtOnce(t *testing.T) {
	for _, test := range []struct{ name, version, framing, want string }{
		{"chunks", "HTTP/1.1", "Transfer-Encoding: chunked\r\n", "chunked"},
		{"until the end", "HTTP/1.1", "", "chunked"},
		{"a length", "HTTP/1.1", "Content-Length: 70000\r\n", ""},
		{"chunks to HTTP/1.0", "HTTP/1.0", "Transfer-Encoding: chunked\r\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := make(chan struct{})
			u := startUpstream(t, func(u *service, p *peer) {
				u.next(p)
				p.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + test.framing + "\r\n")
				<-got
				for n := range 100 {
					piece := fmt.Sprintf("data: %d\n\n", n)
					if strings.Contains(test.framing, "chunked") {
						piece = fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece)
					}
					p.send(piece)
					<-got
				}
			})
			p := startProxy(t, forward.Config{}, u.url())
			c := p.client()
			c.send("GET / " + test.version + "\r\nHost: h\r\n\r\n")
			head := message{head: c.head()}
			if head.value("Transfer-Encoding") != test.want || head.value("Content-Type") != "text/event-stream" {
				t.Errorf("answered %q", head.head)
			}
			got <- struct{}{}
			var body io.Reader = c.r
			if test.want == "chunked" {
				body = httputil.NewChunkedReader(c.r)
			}
			for n := range 100 {
				want := fmt.Sprintf("data: %d\n\n", n)
				piece := make([]byte, len(want))
				if _, err := io.ReadFull(body, piece); err != nil || string(piece) != want {
					t.Fatalf("%q, %v", piece, err)
				}
				got <- struct{}{}
			}
		})
	}
}

// noise is a reproducible body without end.
func noise(seed uint64) io.Reader {
	return rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
}

func sum(r io.Reader, n int64) (hash.Hash, error) {
	h := sha256.New()
	got, err := io.Copy(h, r)
	if err == nil && got != n {
		err = fmt.Errorf("%d bytes instead of %d", got, n)
	}
	return h, err
}

// measureHeap runs what while it watches the heap, and returns the most that was added to it.
func measureHeap(what func()) uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	before, most := stats.HeapAlloc, uint64(0)
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				runtime.ReadMemStats(&stats)
				most = max(most, stats.HeapAlloc)
			}
		}
	})
	what()
	close(done)
	watching.Wait()
	return max(most, before) - before
}

func TestBodiesOfAnyLengthPassThroughLittleMemory(t *testing.T) {
	size := int64(256 << 20)
	if raceEnabled {
		size = 32 << 20
	}
	for _, framing := range []string{"chunked", "length"} {
		t.Run(framing, func(t *testing.T) {
			u := startUpstream(t, func(u *service, p *peer) { echo(p, framing) })
			p := startProxy(t, forward.Config{}, u.url())
			var sent, received hash.Hash
			var failed error
			used := measureHeap(func() {
				c := p.client()
				_ = c.SetDeadline(time.Now().Add(time.Minute))
				var both sync.WaitGroup
				both.Go(func() { sent = upload(c, framing, size) })
				c.head()
				var body io.Reader = io.LimitReader(c.r, size)
				if framing == "chunked" {
					body = httputil.NewChunkedReader(c.r)
				}
				received, failed = sum(body, size)
				both.Wait()
			})
			if failed != nil || string(sent.Sum(nil)) != string(received.Sum(nil)) {
				t.Errorf("what came back is not what was sent: %v, %v", failed, p.lastError())
			}
			if used > 8<<20 {
				t.Errorf("%d MiB of heap", used>>20)
			}
			t.Logf("%d KiB of heap", used>>10)
		})
	}
}

// echo answers a request with its own body while it comes in.
func echo(p *peer, framing string) {
	m := message{head: p.head()}
	if framing == "length" {
		p.send("HTTP/1.1 200 OK\r\nContent-Length: " + m.value("Content-Length") + "\r\n\r\n")
		_, _ = io.Copy(p.Conn, p.r)
		return
	}
	p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	w := httputil.NewChunkedWriter(p.Conn)
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, httputil.NewChunkedReader(p.r), make([]byte, 64<<10)); err == nil {
		w.Close()
		p.send("\r\n")
	}
}

func upload(c *peer, framing string, size int64) hash.Hash {
	h := sha256.New()
	body := io.TeeReader(io.LimitReader(noise(1), size), h)
	if framing == "length" {
		c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", size))
		_, _ = io.CopyBuffer(struct{ io.Writer }{c.Conn}, body, make([]byte, 64<<10))
		return h
	}
	c.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
	w := httputil.NewChunkedWriter(c.Conn)
	_, _ = io.CopyBuffer(struct{ io.Writer }{w}, body, make([]byte, 64<<10))
	w.Close()
	c.send("\r\n")
	return h
}

func TestAConversationInOneExchange(t *testing.T) {
	u := startUpstream(t, func(u *service, p *peer) {
		p.head()
		body := httputil.NewChunkedReader(p.r)
		p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for line := make([]byte, 3); ; {
			if _, err := io.ReadFull(body, line); err != nil {
				p.send("0\r\n\r\n")
				return
			}
			p.send("3\r\n" + strings.ToUpper(string(line)) + "\r\n")
		}
	})
	p := startProxy(t, forward.Config{}, u.url())
	c := p.client()
	c.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
	begun := make(chan struct{})
	var sending sync.WaitGroup
	lines := 0
	sending.Go(func() { // it must not pause before the answer begins
		for {
			select {
			case <-begun:
				return
			default:
				c.send("3\r\nxyz\r\n")
				lines++
			}
		}
	})
	c.head()
	close(begun)
	sending.Wait()
	body := httputil.NewChunkedReader(c.r)
	line := make([]byte, 3)
	for range lines {
		if _, err := io.ReadFull(body, line); err != nil || string(line) != "XYZ" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	for n := range 20 { // from here on, each waits for the other
		c.send(fmt.Sprintf("3\r\na%02d\r\n", n))
		if _, err := io.ReadFull(body, line); err != nil || string(line) != fmt.Sprintf("A%02d", n) {
			t.Fatalf("line %d: %q, %v", n, line, err)
		}
	}
}

func TestAnEarlyRefusalReachesAClientThatIsStillSending(t *testing.T) {
	for _, test := range []struct{ name, answer, want string }{
		{"short", "HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge", "large"},
		{"in chunks", "HTTP/1.1 413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nlarge\r\n0\r\n\r\n", "large"},
		{"long", "HTTP/1.1 413 Too Large\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000), strings.Repeat("x", 100000)},
		{"and closing", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nlarge", "large"},
	} {
		for _, framing := range []string{"chunked", "length"} {
			t.Run(test.name+", "+framing, func(t *testing.T) {
				u := startUpstream(t, func(u *service, p *peer) {
					p.head()
					_, _ = io.CopyN(io.Discard, p.r, 64<<10)
					p.send(test.answer)
				})
				p := startProxy(t, forward.Config{}, u.url())
				for range 20 {
					c := p.client()
					var sending sync.WaitGroup
					sending.Go(func() { upload(c, framing, 10<<20) })
					got := c.answer()
					if got.body != test.want || got.cut || got.value("Connection") != "close" {
						t.Fatalf("answered %q with %d bytes: %v", got.head, len(got.body), p.lastError())
					}
					c.Close()
					sending.Wait()
				}
			})
		}
	}
}

func TestAnEarlyRefusalEndsAnUploadThatIsStuck(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge",
		"HTTP/1.1 413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nlarge\r\n0\r\n\r\n",
	} {
		for _, upstreamReads := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, upstream reads: %t", answer[24:36], upstreamReads), func(t *testing.T) {
				var sent atomic.Int64
				release := make(chan struct{})
				u := startUpstream(t, func(u *service, p *peer) {
					p.head()
					if !upstreamReads {
						awaitStandstill(&sent)
					}
					p.send(answer)
					<-release
				})
				p := startProxy(t, forward.Config{}, u.url())
				c := p.client()
				var sending sync.WaitGroup
				if upstreamReads {
					c.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab") // and no more
				} else {
					sending.Go(func() {
						c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n")
						for n, err := 0, error(nil); err == nil; sent.Add(int64(n)) {
							n, err = c.Write(make([]byte, 64<<10))
						}
					})
				}
				if got := c.answer(); got.body != "large" || got.cut {
					t.Errorf("answered %q: %v", got.head, p.lastError())
				}
				close(release)
				c.Close()
				sending.Wait()
			})
		}
	}
}

// awaitStandstill waits until a count that has begun does not change any more.
func awaitStandstill(count *atomic.Int64) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for last, still := int64(0), 0; still < 50; <-tick.C {
		if now := count.Load(); now != last || now == 0 {
			last, still = now, 0
		}
		still++
	}
}

// A complete upload costs nobody the connection, whatever its answer is like.
func TestTheConnectionSurvivesAnUploadWhoseAnswerIsStreamed(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
	for name, request := range map[string]string{
		"chunks": "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
		"length": post("/", strings.Repeat("x", 70_000)),
	} {
		t.Run(name, func(t *testing.T) {
			u := startUpstream(t, always(answer))
			p := startProxy(t, forward.Config{}, u.url())
			c := p.client()
			for n := range 300 {
				c.send(request)
				if got := c.answer(); got.body != "ok" || got.value("Connection") != "" {
					t.Fatalf("request %d is answered %q: %v", n, got.head, p.lastError())
				}
			}
			if n, m := u.counts(); m != 300 {
				t.Errorf("%d requests on %d connections", m, n)
			}
		})
	}
}

func TestAnEarlyAnswerDoesNotEndAnUploadThatTheUpstreamStillWants(t *testing.T) {
	const size = 10 << 20
	whole := make(chan int64, 1)
	u := startUpstream(t, func(u *service, p *peer) {
		p.head()
		p.send("HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\ngood")
		n, _ := io.Copy(io.Discard, io.LimitReader(p.r, size))
		whole <- n
		u.next(p)
		p.send(okAnswer)
	})
	p := startProxy(t, forward.Config{}, u.url())
	c := p.client()
	var sending sync.WaitGroup
	sending.Go(func() { upload(c, "length", size) })
	if got := c.answer(); got.status() != 202 || got.body != "good" {
		t.Errorf("answered %q", got.head)
	}
	sending.Wait()
	if n := <-whole; n != size {
		t.Errorf("the upstream got %d bytes", n)
	}
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if got := c.answer(); got.body != "ok" {
		t.Errorf("the next answer is %q", got.head)
	}
	if n, _ := u.counts(); n != 1 {
		t.Errorf("%d connections", n)
	}
}
