package forward_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"keygate/proxy/forward"
)

// Whatever an upstream answers, another reader of HTTP must find exactly one answer in what the client gets: whole, or
// cut off, never followed by anything else.
func FuzzAnAnswerStaysOne(f *testing.F) {
	for _, test := range answers {
		f.Add([]byte(test.sent))
	}
	for _, test := range brokenBodies {
		f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + test.chunks))
	}
	sent := make(chan []byte, 1)
	u := startUpstream(f, func(u *service, p *peer) {
		if _, ok := p.request(); ok {
			p.send(string(<-sent))
		}
	})
	p := startProxy(f, forward.Config{ResponseTimeout: time.Second, IdleTimeout: time.Second}, u.url())
	f.Fuzz(func(t *testing.T, answer []byte) {
		sent <- answer
		raw, err := net.Dial("tcp", p.server.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		c := newPeer(t, raw)
		c.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		got, err := io.ReadAll(c.r)
		if err != nil {
			return // cut off by a reset
		}
		r := bufio.NewReader(strings.NewReader(string(got)))
		response, err := http.ReadResponse(r, &http.Request{Method: "GET"})
		if err != nil {
			t.Fatalf("from %q the client got %q: %v", answer, got, err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err == nil && r.Buffered() > 0 {
			rest, _ := io.ReadAll(r)
			t.Fatalf("from %q the client got %q, and then %q", answer, got, rest)
		}
	})
}
