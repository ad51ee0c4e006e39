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

// with is a request with another key.
func with(key, raw string) string { return strings.Replace(raw, "good", key, 1) }

func TestOthersAreServedWhileAKeyIsLookedUp(t *testing.T) {
	e := newEdge(t, newAPI(t, saying(created)), func(c *server.Config) {
		c.HeaderTimeout, c.IdleTimeout, c.Fast.ResponseTimeout = short, short, short
	}).warm()
	good, bad := e.dial(), e.dial()
	for _, c := range []*client{good, bad} {
		key := map[*client]string{good: "cold-good", bad: "cold-bad"}[c]
		c.say(with(key, get("/a")))
		<-e.auth.reached
	}
	for began := time.Now(); time.Since(began) < 2*short; { // as no look-up is cut short
		if r := e.dial().ask(get("/a")); r.status != 201 {
			t.Fatalf("another one: %+v", r)
		}
	}
	e.auth.goOn <- struct{}{}
	e.auth.goOn <- struct{}{}
	if r := good.hear("GET"); r.status != 201 {
		t.Errorf("a good key: %+v", r)
	}
	if r := bad.hear("GET"); r.status != 401 || r.closes {
		t.Errorf("another key: %+v", r)
	}
	if ways := e.ways(); ways[1] != 1 || ways[2] != 0 || ways[3] != 1 { // the one handed over is that of warm
		t.Errorf("got %v", ways)
	}
}

func TestAKeyIsLookedUpOnceWhoeverServesItsRequest(t *testing.T) {
	e := newEdge(t, newAPI(t, saying(created))) // to which nothing is idle
	for _, key := range []string{"good", "cold-good"} {
		before := e.auth.timesAsked()
		c := e.dial()
		c.say(with(key, get("/a")))
		if strings.HasPrefix(key, "cold") {
			<-e.auth.reached
			e.auth.goOn <- struct{}{}
		}
		if r := c.hear("GET"); r.status != 201 {
			t.Errorf("%s: %+v", key, r)
		}
		if asked := e.auth.timesAsked() - before; asked != 1 {
			t.Errorf("%s was looked up %d times", key, asked)
		}
		c.Close()
	}
}

// An upstream has all of its time, however long a look-up took.
func TestALookUpTakesNothingOfTheUpstreamsTime(t *testing.T) {
	const limit = 3 * short
	a := newAPI(t, onceWarm(func(c net.Conn) {
		<-time.After(short)
		_, _ = io.WriteString(c, created)
	}))
	e := newEdge(t, a, func(c *server.Config) { c.Fast.ResponseTimeout = limit }).warm()
	c := e.dial()
	c.say(with("cold-good", post("/a", "Content-Length: 1\r\n\r\na")))
	<-e.auth.reached
	<-time.After(limit)
	e.auth.goOn <- struct{}{}
	if r := c.hear("POST"); r.status != 201 || e.ways()[2] != 0 {
		t.Errorf("got %+v: %v", r, e.ways())
	}
}

// What was decided about one key says nothing about the next request's, also where that has come meanwhile.
func TestADecisionIsAboutOneRequest(t *testing.T) {
	e := newEdge(t, newAPI(t, saying(created)))
	c := e.dial()
	c.say(with("cold-good", get("/a")))
	<-e.auth.reached
	c.say(with("bad", get("/b")) + get("/c"))
	e.auth.goOn <- struct{}{}
	for _, want := range []int{201, 401, 201} {
		if r := c.hear("GET"); r.status != want {
			t.Errorf("got %+v, not %d", r, want)
		}
	}
}

func TestAClientMayHangUpWhileItsKeyIsLookedUp(t *testing.T) {
	e := newEdge(t, newAPI(t, saying(created))).warm()
	for _, key := range []string{"cold-good", "cold-bad"} {
		half, gone := e.dial(), e.dial()
		for _, c := range []*client{half, gone} {
			c.say(with(key, get("/a")))
			<-e.auth.reached
		}
		_ = half.Conn.(*net.TCPConn).CloseWrite()
		_ = gone.Conn.(*net.TCPConn).SetLinger(0)
		gone.Close()
		e.auth.goOn <- struct{}{}
		e.auth.goOn <- struct{}{}
		if r := half.hear("GET"); r.status != 201 && r.status != 401 || !half.ended() {
			t.Errorf("%s of a client that sends no more: %+v", key, r)
		}
	}
	until(t, "the connections to be closed", func() bool { return e.count("keygate_proxy_connections", "") == 0 })
}

func TestAStopWaitsForKeysThatAreLookedUp(t *testing.T) {
	for key, want := range map[string]int{"cold-good": 201, "cold-bad": 401} {
		e := newEdge(t, newAPI(t, saying(created))).warm()
		c := e.dial()
		c.say(with(key, get("/a")))
		<-e.auth.reached
		stopped := make(chan struct{})
		go func() {
			e.stop()
			close(stopped)
		}()
		until(t, "the stop", e.refused)
		e.auth.goOn <- struct{}{}
		if r := c.hear("GET"); r.status != want || !r.closes || !c.ended() {
			t.Errorf("%s: %+v", key, r)
		}
		<-stopped
	}
}

// The key that was decided about is read again by the goroutine that the request is handed over to.
func TestARequestThatIsHandedOverKeepsItsKey(t *testing.T) {
	a := newAPI(t, func(c net.Conn, head string) {
		_, prefix, _ := strings.Cut(head, "X-Org-Key: ")
		prefix, _, _ = strings.Cut(prefix, "\r\n")
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(prefix), prefix)
	})
	e := newEdge(t, a).warm()
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			c, key := e.dial(), fmt.Sprintf("%d-good", 100+i)
			for range 50 {
				if r := c.ask(with(key, get("/a"))); r.status != 200 || r.body != key {
					t.Errorf("%s was %q for the upstream: %+v", key, r.body, r)
					return
				}
			}
		})
	}
	all.Wait()
}
