package fastpath_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"keygate/proxy/server"
)

// filling is a request that is just as long as a loop's buffer, and shorter when it leaves: a line of it is dropped.
func filling() string {
	junk := "X-Org-Junk: " + strings.Repeat("j", 3000)
	size := 65_536 - len(post("/a", "Content-Length: 60000\r\n\r\n", junk))
	return post("/a", fmt.Sprintf("Content-Length: %d\r\n\r\n", size), junk) + strings.Repeat("b", size)
}

func TestARequestThatFillsTheBufferHidesNothingBehindIt(t *testing.T) {
	a := newAPI(t, saying(created))
	e := newEdge(t, a).warm()
	for range 30 { // it comes in one piece now and then
		c := e.dial()
		c.say(filling() + get("/b"))
		for _, method := range []string{"POST", "GET"} {
			if r := c.hear(method); r.status != 201 {
				t.Fatalf("the %s is answered %+v: %v", method, r, e.ways())
			}
		}
		c.Close()
	}
}

// What is left of a long request is written by a goroutine. A deadline from before is not its deadline.
func TestTheRestOfALongRequestHasItsOwnTime(t *testing.T) {
	a := newAPI(t, func(c net.Conn, head string) {
		if strings.Contains(head, "chunked") {
			for got, piece := "", make([]byte, 100); !strings.HasSuffix(got, "0\r\n\r\n"); {
				n, err := c.Read(piece)
				if err != nil {
					return
				}
				got += string(piece[:n])
			}
		}
		_, _ = io.WriteString(c, created)
	})
	const limit = 300 * time.Millisecond
	e := newEdge(t, a, func(c *server.Config) { c.IdleTimeout = limit }).warm()
	c := e.dial()
	c.say(post("/up", "Transfer-Encoding: chunked\r\n\r\n"))
	<-time.After(limit / 10) // so that it is streamed, which sets a deadline
	c.say("5\r\nhello\r\n0\r\n\r\n")
	if r := c.hear("POST"); r.status != 201 {
		t.Fatalf("got %+v", r)
	}
	c.Close()
	<-time.After(2 * limit)
	size := 65_400 - len(post("/a", ""))
	for range 5 {
		if r := e.dial().ask(post("/a", fmt.Sprintf("Content-Length: %d\r\n\r\n", size)) + strings.Repeat("b", size)); r.status != 201 {
			t.Fatalf("got %+v: %v", r, e.ways())
		}
	}
}

// Nobody is told of a stop by the connection being closed, if it can still be told by an answer.
func TestWhoIsServedWhenAStopComesIsTold(t *testing.T) {
	goOn := make(chan struct{})
	goes := sync.OnceFunc(func() { close(goOn) })
	a := newAPI(t, func(c net.Conn, head string) {
		if strings.Contains(head, "/stream") {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n"+strings.Repeat("y", 69_999))
			<-goOn
			_, _ = io.WriteString(c, "y")
			return
		}
		_, _ = io.WriteString(c, created)
	})
	t.Cleanup(goes)
	e := newEdge(t, a, func(c *server.Config) { c.DrainDelay = 3 * time.Second }).warm()
	streaming, idle := e.dial(), e.dial()
	streaming.say(get("/stream"))
	until(t, "the stream to begin", func() bool { return e.ways()[2] == 1 })
	if r := idle.ask(get("/a")); r.status != 201 || r.closes {
		t.Errorf("before the stop: %+v", r)
	}
	stopped := make(chan struct{})
	go func() {
		e.stop()
		close(stopped)
	}()
	until(t, "the stop", func() bool { return e.dial().ask(get("/a")).closes })
	goes()
	if r := streaming.hear("GET"); r.status != 200 || !r.whole {
		t.Errorf("the stream: status %d, %d bytes", r.status, len(r.body))
	}
	for name, c := range map[string]*client{"streaming": streaming, "idle": idle} {
		if r := c.ask(get("/a")); r.status != 201 || !r.closes || !c.ended() {
			t.Errorf("the next request of who was %s: %+v", name, r)
		}
	}
	<-stopped
}

func TestANewConnectionIsServedEvenIfAStopComesFirst(t *testing.T) {
	a := newAPI(t, saying(created))
	e := newEdge(t, a).warm()
	open := func(want float64) func() bool {
		return func() bool { return e.count("keygate_proxy_connections", "") == want }
	}
	until(t, "other connections to be closed", open(0))
	c := e.dial()
	until(t, "the connection to be accepted", open(1))
	go e.stop()
	until(t, "the listener to be closed", e.refused)
	if r := c.ask(get("/a")); r.status != 201 || !r.closes {
		t.Errorf("got %+v", r)
	}
}

var longBody = strings.Repeat("0123456789", 6000)

// owe has a client ask until no more answers fit into the sockets' buffers, and returns how many there are. The last is owed
// in part.
func owe(e *edge, c *client) (answered int) {
	for at := time.Now(); time.Since(at) < short; {
		before := e.ways()[0]
		c.say(get("/a"))
		for e.ways()[0] == before && time.Since(at) < short {
			<-time.After(time.Millisecond)
		}
		if e.ways()[0] > before {
			at = time.Now()
		}
	}
	return e.ways()[0]
}

// An answer that is given up ends like none that is whole, and nothing follows it.
func TestAnAnswerThatIsGivenUpIsResetAndNothingFollows(t *testing.T) {
	answer := "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + longBody
	e := newEdge(t, newAPI(t, saying(answer)), func(c *server.Config) { c.IdleTimeout = 2 * short }).warm()
	fit := owe(e, e.dial())
	c := e.dial() // which has nothing left to be read, for that alone would be a reset
	for i := range fit {
		c.say(get("/a"))
		until(t, "the answer", func() bool { return e.ways()[0] == fit+i+1 })
	}
	until(t, "the clients to be given up", func() bool { return e.count("keygate_proxy_connections", "") == 0 })
	all, err := io.ReadAll(c.reader)
	if err == nil && len(all) != fit*len(answer) || strings.Contains(string(all), "HTTP/1.1 408") {
		t.Errorf("%d of %d bytes, %v, which end with %q", len(all), fit*len(answer), err, all[max(len(all)-200, 0):])
	}
}

// A stop waits for those who read slowly, longer than for those who say nothing.
func TestAStopLeavesNoAnswerHalfWritten(t *testing.T) {
	a := newAPI(t, saying("HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"+longBody))
	e := newEdge(t, a).warm()
	c := e.dial()
	answered := owe(e, c)
	stopped := make(chan struct{})
	go func() {
		e.stop()
		close(stopped)
	}()
	select {
	case <-stopped:
		t.Error("the stop did not wait")
	case <-time.After(6 * time.Second): // the server below gives those five who have not said anything
	}
	for i := range answered {
		if r := c.hear("GET"); !r.whole || r.body != longBody {
			t.Fatalf("answer %d of %d: status %d, %d bytes", i, answered, r.status, len(r.body))
		}
	}
	<-stopped
}

// Who is told that a request failed halfway is told the id that the upstream was told.
func TestARequestHasOneIdWhoeverEndsIt(t *testing.T) {
	a := newAPI(t, onceWarm(func(c net.Conn) { c.Close() }))
	for _, lines := range [][]string{nil, {"X-Request-Id: mine"}} {
		e := newEdge(t, a).warm()
		r := e.dial().ask(post("/a", "Content-Length: 1\r\n\r\na", lines...))
		sent := a.seen()
		_, id, _ := strings.Cut(sent[len(sent)-1], "X-Request-Id: ")
		id, _, _ = strings.Cut(id, "\r\n")
		if r.status != 502 || id == "" || !strings.Contains(r.body, `"request_id":"`+id+`"`) || e.ways()[2] != 1 {
			t.Errorf("the upstream was told %q, the client %+v", id, r)
		}
	}
}
