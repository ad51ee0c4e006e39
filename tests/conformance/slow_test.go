package conformance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"keygate/proxy/config"
)

// limit is what slow clients are given here, for each of what they may be slow in.
const limit = 400 * time.Millisecond

func slowEdge(t *testing.T, up *upstream, change func(*config.Config)) *edge {
	return newEdge(t, up.addr(), func(c *config.Config) {
		c.Clients.HeaderTimeout, c.Clients.IdleTimeout, c.Upstream.IdleTimeout = time.Minute, time.Minute, time.Minute
		change(c)
	})
}

// trickle sends text, and then a byte at a time until the connection is closed, and returns what was answered and how long
// that took.
func trickle(t *testing.T, e *edge, text, drip string, every time.Duration) (received []byte, took time.Duration) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", e.addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	begun := time.Now()
	_ = conn.SetDeadline(begun.Add(patience))
	if _, err := conn.Write(expand(t, text, e.key, idOf(1))); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(every):
				_, _ = io.WriteString(conn, drip)
			}
		}
	}()
	received, err = io.ReadAll(conn)
	took = time.Since(begun)
	close(stop)
	<-stopped
	if netErr, ok := errors.AsType[net.Error](err); ok && netErr.Timeout() {
		t.Errorf("%.60q: the connection is open after %v", text, patience)
	}
	return received, took
}

func TestASlowClientIsCut(t *testing.T) {
	up := newUpstream(t, echo)
	head := slowEdge(t, up, func(c *config.Config) { c.Clients.HeaderTimeout = limit })
	idle := slowEdge(t, up, func(c *config.Config) { c.Clients.IdleTimeout = limit })
	stall := slowEdge(t, up, func(c *config.Config) { c.Upstream.IdleTimeout = limit })
	const never, post = time.Hour, "POST /~ HTTP/1.1|H|K|"
	f := func(name string, e *edge, text, drip string, every time.Duration, want ...int) {
		t.Helper()
		received, took := trickle(t, e, text, drip, every)
		var got []int
		for rest := received; len(rest) > 0; {
			a, err := readResponse(rest, "POST", true)
			if err != nil {
				t.Errorf("%s: %q, %v", name, rest, err)
				break
			}
			got, rest = append(got, a.status), rest[a.size:]
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || took < limit/2 {
			t.Errorf("%s: answered by %v after %v, not by %v after %v", name, got, took, want, limit)
		}
	}
	f("says nothing", head, "", "", never, 408)
	f("half a header", head, "GET /~ HTTP/1.1|H", "", never, 408)
	f("a header that trickles", head, "GET /~ HTTP/1.1|H|A: ", "x", limit/10, 408)
	f("a second header", head, "GET /~ HTTP/1.1|H|K||GET /~ HTTP/1.1|A: ", "x", limit/10, 200, 408)
	f("between two requests", idle, "GET /~ HTTP/1.1|H|K||", "", never, 200)
	f("half a short body", stall, post+"Content-Length: 9||abc", "", never, 408)
	f("half a body", stall, post+"Content-Length: 60000||{30000*a}", "", never, 408)
	f("half a long body", stall, post+"Content-Length: 99999||{30000*a}", "", never, 408)
	f("half a chunk", stall, post+"Transfer-Encoding: chunked||9|abc", "", never, 408)
	f("half a chunked body", stall, post+"Transfer-Encoding: chunked||3|abc|", "", never, 408)
	f("a body nobody wants", head, "POST /~ HTTP/1.1|H|Content-Length: 9||abc", "", never, 401)
	for _, e := range []*edge{head, idle, stall} {
		e.stop()
	}
	up.close()
}

// A body may take longer than any limit, as long as it goes on.
func TestABodyThatGoesOnIsNotCut(t *testing.T) {
	up := newUpstream(t, echo)
	e := slowEdge(t, up, func(c *config.Config) {
		c.Clients.HeaderTimeout, c.Clients.IdleTimeout, c.Upstream.IdleTimeout = limit, limit, limit
	})
	for _, framing := range []string{"Content-Length: 12", "Content-Length: 70012||{70000*a}"} {
		framing, begun, _ := strings.Cut(framing, "||")
		text := "POST /~ HTTP/1.1|H|K|Connection: close|" + framing + "||" + begun
		received, took := trickle(t, e, text, "x", limit/6)
		if a, err := readResponse(received, "POST", true); err != nil || a.status != 200 || took < limit {
			t.Errorf("%s: got %d, %v after %v", framing, a.status, err, took)
		}
	}
	e.stop()
	up.close()
}

// A client that reads nothing of what it asks for is cut once its socket is full, whether answers are held or streamed.
func TestAClientThatDoesNotReadIsCut(t *testing.T) {
	for size, many := range map[int]int{60 << 10: 400, 32 << 20: 1} {
		body := strings.Repeat("x", size)
		answer := []byte(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, body))
		up := newUpstream(t, func(*message) reply { return reply{bytes: answer} })
		up.forgets = true
		e := slowEdge(t, up, func(c *config.Config) { c.Clients.IdleTimeout, c.Upstream.IdleTimeout = limit, limit })
		conn, err := net.DialTimeout("tcp", e.addr, patience)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := conn.Write(expand(t, fmt.Sprintf("{%d*GET / HTTP/1.1\\r\\nHost: a\\r\\nX-API-Key: %s\\r\\n\\r\\n}", many, e.key), "", "")); err != nil {
			t.Fatal(err)
		}
		<-time.After(3 * limit)
		got, err := io.Copy(io.Discard, conn)
		if netErr, ok := errors.AsType[net.Error](err); ok && netErr.Timeout() || got >= int64(len(answer)*many) {
			t.Errorf("answers of %d bytes: %d bytes were read, %v", size, got, err)
		}
		_ = conn.Close()
		e.stop()
		up.close()
	}
}
