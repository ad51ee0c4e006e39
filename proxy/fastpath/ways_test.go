package fastpath_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"keygate/proxy/server"
)

// Ensure what the fast path is for goes by it, and nothing else does.
func TestWhichWayARequestGoes(t *testing.T) {
	const answered, handedOver, takenUp, refused = 0, 1, 2, 3
	check := func(name, raw, text string, way int) {
		t.Helper()
		a := newAPI(t, saying(text))
		e := newEdge(t, a).warm()
		before := e.ways()
		if r := e.dial().ask(raw); r.status == 0 {
			t.Errorf("%s: no answer", name)
		}
		after, want := e.ways(), before
		if want[way]++; after != want {
			t.Errorf("%s: from %v to %v, not to %v (answered, handed over, taken up, refused)", name, before, after, want)
		}
	}
	check("a GET", get("/a"), created, answered)
	check("a POST", post("/a", "Content-Length: 5\r\n\r\nhello"), created, answered)
	check("no content", get("/a"), "HTTP/1.1 204 No Content\r\n\r\n", answered)
	check("an error of the upstream's", get("/a"), "HTTP/1.1 500 Oh\r\nContent-Length: 1\r\n\r\na", answered)
	check("another key", with("bad", get("/a")), created, refused)
	check("no key needed", get("/open"), created, handedOver)
	check("chunks", post("/a", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), created, handedOver)
	check("an upgrade", get("/a", "Connection: Upgrade", "Upgrade: x"), created, handedOver)
	check("the last one of its connection", get("/a", "Connection: close"), created, handedOver)
	check("an expectation", post("/a", "Content-Length: 1\r\n\r\na", "Expect: 100-continue"), created, handedOver)
	check("an answer in chunks", get("/a"), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", takenUp)
	check("an interim answer", get("/a"), "HTTP/1.1 103 Early Hints\r\n\r\n"+created, takenUp)
	check("a refusal that may be asked again", get("/a"), "HTTP/1.1 503 Oh\r\nContent-Length: 1\r\n\r\na", takenUp)
	check("a long answer", get("/a"), "HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n"+strings.Repeat("y", 70_000), takenUp)
	check("garbage", get("/a"), "garbage\r\n\r\n", takenUp)
}

func TestAConnectionComesBackAfterEachDetour(t *testing.T) {
	a := newAPI(t, saying(created))
	e := newEdge(t, a).warm()
	c := e.dial()
	for range 3 {
		for _, raw := range []string{get("/a"), get("/open"), with("bad", get("/a"))} {
			if r := c.ask(raw); r.status != 201 && r.status != 401 {
				t.Errorf("%.40q is answered %+v", raw, r)
			}
		}
	}
	if ways := e.ways(); ways[0] != 3 {
		t.Errorf("%d were answered by a loop", ways[0])
	}
}

func TestPipelinedRequestsAreAnsweredInTheirOrder(t *testing.T) {
	a := newAPI(t, func(c net.Conn, head string) {
		target := strings.Fields(head)[1]
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"+target)
	})
	e := newEdge(t, a).warm()
	c := e.dial()
	for _, pieces := range [][]string{
		{get("/1") + get("/2"), get("/3")}, // the third comes while the others are with a goroutine
		{get("/1"), get("/2"), get("/3")},
		{get("/1") + get("/2")[:10], get("/2")[10:] + get("/3")},
	} {
		for _, piece := range pieces {
			c.say(piece)
		}
		for _, want := range []string{"/1", "/2", "/3"} {
			if r := c.hear("GET"); r.body != want {
				t.Errorf("%s is answered %+v", want, r)
			}
		}
	}
}

// An answer may come in any pieces, and a request too.
func TestPiecesBecomeWhole(t *testing.T) {
	a := newAPI(t, func(c net.Conn, head string) {
		text := "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nin pieces"
		at := len(text) - 2 - len(head)%7 // somewhere in its body
		for _, piece := range []string{text[:at], text[at : at+1], text[at+1:]} {
			_, _ = io.WriteString(c, piece)
			<-time.After(time.Millisecond)
		}
	})
	e := newEdge(t, a).warm()
	c := e.dial()
	raw := post("/a", "Content-Length: 5\r\n\r\nhello")
	for at := range len(raw) {
		c.say(raw[:at])
		<-time.After(100 * time.Microsecond)
		c.say(raw[at:])
		if r := c.hear("POST"); r.status != 200 || r.body != "in pieces" {
			t.Fatalf("cut at %d: %+v", at, r)
		}
		if r := c.ask(raw); r.status != 200 || r.body != "in pieces" {
			t.Fatalf("not cut: %+v", r)
		}
	}
	if ways := e.ways(); ways[0] == 0 || ways[1] == 0 {
		t.Errorf("not every way was gone: %v", ways)
	}
}

func TestAnUpstreamThatHungUpCostsNobodyAnAnswer(t *testing.T) {
	a := newAPI(t, saying(created))
	e := newEdge(t, a).warm()
	c := e.dial()
	for range 20 {
		if r := c.ask(post("/a", "Content-Length: 1\r\n\r\na")); r.status != 201 {
			t.Fatalf("got %+v", r)
		}
		a.hangUp()
	}
	if ways := e.ways(); ways[2] > 0 {
		t.Errorf("requests were sent in vain: %v", ways)
	}
}

// What an upstream sends unasked answers nobody, also where it is sent to a connection that a loop watches.
func TestWhatNobodyAskedForIsNoAnswer(t *testing.T) {
	a := newAPI(t, saying(created+"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"))
	e := newEdge(t, a).warm()
	c := e.dial()
	for range 20 {
		if r := c.ask(get("/a")); r.status != 201 || r.body != "ok" {
			t.Fatalf("got %+v", r)
		}
	}
}

func TestAnExchangeThatTakesTooLongEndsAsElsewhere(t *testing.T) {
	const limit = 200 * time.Millisecond
	calls := make(chan struct{}, 10)
	a := newAPI(t, func(c net.Conn, head string) {
		if strings.Contains(head, "/warm") {
			_, _ = io.WriteString(c, created)
		}
		calls <- struct{}{}
	})
	e := newEdge(t, a, func(c *server.Config) { c.Fast.ResponseTimeout = limit }).warm()
	began := time.Now()
	r := e.dial().ask(post("/a", "Content-Length: 1\r\n\r\na"))
	if took := time.Since(began); r.status != 504 || took < limit {
		t.Errorf("after %v: %+v", took, r)
	}
	if ways := e.ways(); ways[2] != 1 || len(calls) != 2 {
		t.Errorf("%v, and the upstream was called %d times", ways, len(calls))
	}
}
