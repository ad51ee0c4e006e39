package fastpath_test

import (
	"net"
	"testing"
	"time"

	"keygate/proxy/server"
)

const short = 200 * time.Millisecond

func TestWhoSaysNothingIsToldSoAtFirstAndLeftLater(t *testing.T) {
	a := newAPI(t, saying(created))
	e := newEdge(t, a, func(c *server.Config) { c.HeaderTimeout = short }).warm()
	if r := e.dial().hear("GET"); r.status != 408 {
		t.Errorf("a connection that never said anything: %+v", r)
	}
	e = newEdge(t, a, func(c *server.Config) { c.IdleTimeout = short }).warm()
	for _, raw := range []string{get("/a"), get("/open")} {
		c := e.dial()
		began := time.Now()
		if r := c.ask(raw); r.status != 201 || !c.ended() || time.Since(began) < short {
			t.Errorf("a connection that says no more: %+v, ended after %v", r, time.Since(began))
		}
	}
}

func TestAClientMayHangUpAtAnyTime(t *testing.T) {
	serve, reached, goOn := holding()
	e := newEdge(t, newAPI(t, serve)).warm()

	half := e.dial()
	half.say(get("/a"))
	_ = half.Conn.(*net.TCPConn).CloseWrite()
	if r := half.hear("GET"); r.status != 201 || !half.ended() {
		t.Errorf("a client that sends no more: %+v", r)
	}
	half = e.dial()
	half.say(get("/slow"))
	<-reached
	_ = half.Conn.(*net.TCPConn).CloseWrite()
	goOn <- struct{}{}
	if r := half.hear("GET"); r.status != 201 || !half.ended() {
		t.Errorf("a client that sends no more while it waits: %+v", r)
	}
	gone := e.dial()
	gone.say(get("/slow"))
	<-reached
	gone.Close()
	goOn <- struct{}{}
	until(t, "the connections to be closed", func() bool { return e.count("keygate_proxy_connections", "") == 0 })
}

func TestAClientThatReadsSlowlyGetsAll(t *testing.T) {
	a := newAPI(t, saying("HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"+longBody))
	e := newEdge(t, a).warm()
	const pipelined = 200 // answers that no socket's buffers hold
	c := e.dial()
	go func() {
		for range pipelined {
			c.say(get("/a"))
			<-time.After(time.Millisecond)
		}
	}()
	<-time.After(short)
	for i := range pipelined {
		if r := c.hear("GET"); !r.whole || r.body != longBody {
			t.Fatalf("answer %d: status %d, %d bytes", i, r.status, len(r.body))
		}
	}
}

// Ensure a stop finishes what is under way, on either way, and leaves nothing behind.
func TestAStopFinishesWhatIsUnderWay(t *testing.T) {
	const clients = 20
	serve, reached, goOn := holding()
	e := newEdge(t, newAPI(t, serve)).warm()
	e.fill(clients)
	idle := e.dial()
	if r := idle.ask(get("/a")); r.status != 201 {
		t.Fatalf("got %+v", r)
	}
	var all []*client
	for range clients {
		c := e.dial()
		c.say(get("/slow"))
		<-reached
		all = append(all, c)
	}
	before := e.ways()
	stopped := make(chan struct{})
	go func() {
		e.stop()
		close(stopped)
	}()
	if !idle.ended() {
		t.Error("a connection that waits for a request stays open")
	}
	close(goOn)
	for i, c := range all {
		if r := c.hear("GET"); r.status != 201 || !r.closes || !c.ended() {
			t.Errorf("client %d: %+v", i, r)
		}
	}
	<-stopped
	if after := e.ways(); after[2]-before[2] == 0 {
		t.Errorf("nothing was taken up: %v, then %v", before, after)
	}
}

// fill has so many connections to the upstream idle.
func (e *edge) fill(connections int) {
	e.tb.Helper()
	var all []*client
	for range connections {
		c := e.dial()
		c.say(get("/open"))
		all = append(all, c)
	}
	for _, c := range all {
		c.hear("GET")
		c.Close()
	}
}

func until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(patience); !ok(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("waited in vain for %s", what)
		}
	}
}
