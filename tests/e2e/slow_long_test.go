//go:build long

package e2e

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// What carries nothing for a minute has ended, whichever side it is that has stopped.
func TestWhatCarriesNothingForAMinuteIsCut(t *testing.T) {
	t.Parallel()
	const limit, most = time.Minute, 100 * time.Second
	s := newEdge(t)
	key := "X-API-Key: " + s.createKey("acme").Key
	ended := make(chan string, 16)
	api := startBackend(t, func(p *peer) {
		seen, ok := p.head()
		switch {
		case !ok:
			return
		case strings.Contains(seen.line, "/upload"):
		case strings.Contains(seen.line, "/tunnel"):
			p.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		case strings.Contains(seen.line, "/stalls"):
			p.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nabc")
		case strings.Contains(seen.line, "/unread"):
			p.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
			for p.send(longPattern) {
			}
		}
		p.hang()
		ended <- seen.line
	})
	proxy := s.proxy(api.url)
	for target, text := range map[string]string{
		"/upload": "POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n" + key + "\r\n\r\n" + strings.Repeat("x", 50_000),
		"/tunnel": request("GET", "/tunnel", "", key, "Connection: Upgrade", "Upgrade: x"),
		"/stalls": request("GET", "/stalls", "", key), "/unread": request("GET", "/unread", "", key),
	} {
		conn, err := net.Dial("tcp", proxy.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(most))
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(target, err)
		}
	}
	began := time.Now()
	eventually(t, "all to be open", func() bool { return proxy.metric("keygate_proxy_connections") == 4 })
	for range 4 {
		select {
		case line := <-ended:
			if took := time.Since(began); took < limit-5*time.Second {
				t.Errorf("%s was cut after %v", line, took)
			} else {
				t.Logf("%s was cut after %v", line, took.Round(time.Second))
			}
		case <-time.After(time.Until(began.Add(most))):
			t.Fatalf("something goes on after %v", most)
		}
	}
	eventually(t, "the clients to be cut, too", func() bool { return proxy.metric("keygate_proxy_connections") == 0 })
}
