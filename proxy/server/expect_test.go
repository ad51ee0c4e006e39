package server_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"keygate/proxy/server"
)

func expecting(key, expectation, more string) string {
	return "POST /a HTTP/1.1\r\nHost: e\r\nX-API-Key: " + key + "\r\nExpect: " + expectation + "\r\n" + more + "\r\n"
}

func TestAWaitingClientIsAskedForItsBodyOnceItMayPass(t *testing.T) {
	f := start(t)
	for n := range 3 {
		if response, _ := f.send(expecting("allowed", "100-Continue", "Content-Length: 5\r\n")); response.StatusCode != 100 {
			t.Fatalf("got %d", response.StatusCode)
		}
		if response, _ := f.send("hello"); response.StatusCode != 200 {
			t.Errorf("got %d after the body", response.StatusCode)
		}
		if f.auth.asked != n+1 || f.upstream.calls != n+1 || strings.Contains(strings.ToLower(f.upstream.header), "expect") {
			t.Errorf("asked %d times, forwarded %d times: %q", f.auth.asked, f.upstream.calls, f.upstream.header)
		}
	}
	if response, _ := f.send(expecting("allowed", "100-continue", "Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n0\r\n\r\n"); response.StatusCode != 100 {
		t.Errorf("with a body sent early: got %d", response.StatusCode)
	}
	if response, _ := f.send(get("revoked")); response.StatusCode != 200 {
		t.Errorf("with a body sent early: got %d after it", response.StatusCode)
	}
	// What one request was allowed is not allowed to the next one.
	response, err := http.ReadResponse(f.reader, nil)
	if err != nil || response.StatusCode != 401 || f.upstream.calls != 4 {
		t.Errorf("the next request: got %v, %v, forwarded %d times", response, err, f.upstream.calls)
	}
}

func TestAWaitingClientIsRefusedBeforeItSendsItsBody(t *testing.T) {
	const length, body = "Content-Length: 5\r\n", "hello"
	f := func(raw string, status int) {
		t.Helper()
		parts := []string{"", body, body + get("allowed")}
		if status == 417 {
			parts[0] = body[:1] // such a body is waited for, as far as its first byte
		}
		for _, body := range parts {
			f := start(t)
			if response, problem := f.send(raw + body); response.StatusCode != status || !response.Close {
				t.Errorf("%q: got %d, close %v: %v", raw, response.StatusCode, response.Close, problem)
			}
			if rest, err := io.ReadAll(f.reader); len(rest) > 0 || err != nil || f.upstream.calls > 0 {
				t.Errorf("%q: then %q, %v; forwarded %d times", raw, rest, err, f.upstream.calls)
			}
		}
	}
	f(expecting("revoked", "100-continue", length), 401)
	f(expecting("suspended", "100-continue", length), 403)
	f(expecting("unavailable", "100-continue", length), 503)
	f(expecting("allowed", "100-continue", "X-API-Key: b\r\n"+length), 400)
	f(expecting("allowed", "100-continue", "Content-Length: 1001\r\n"), 413)
	f(expecting("allowed", "100-continue", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400)
	f(expecting("allowed", "200-ok", length), 417)
	f(expecting("allowed", "y 100-continue", length), 417)
	f(expecting("allowed", "100-continue, 100-continue", length), 417)
	f(expecting("allowed", "100-continue", "Expect: x\r\n"+length), 417)
	f(expecting("revoked", "100-continue=1", length), 417)
}

func TestARefusalDoesNotWaitForTheBody(t *testing.T) {
	f := start(t, func(c *server.Config) { c.HeaderTimeout = time.Minute })
	for _, framing := range []string{"Content-Length: 900\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n"} {
		f.dial()
		if response, _ := f.send("POST / HTTP/1.1\r\nHost: e\r\nX-API-Key: revoked\r\n" + framing); response.StatusCode != 401 {
			t.Errorf("%q: got %d", framing, response.StatusCode)
		}
		f.conn.Close()
	}
}

func TestExpectationsThatAreNoneAreIgnored(t *testing.T) {
	f := start(t)
	for _, raw := range []string{
		expecting("allowed", "", "Content-Length: 5\r\n") + "hello",
		"POST / HTTP/1.0\r\nX-API-Key: allowed\r\nConnection: keep-alive\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
		"POST / HTTP/1.0\r\nX-API-Key: allowed\r\nConnection: keep-alive\r\nExpect: other\r\nContent-Length: 5\r\n\r\nhello",
	} {
		if response, _ := f.send(raw); response.StatusCode != 200 {
			t.Errorf("%q: got %d", raw, response.StatusCode)
		}
	}
}

func TestATargetWithTheHostIsForwardedWithoutIt(t *testing.T) {
	f := start(t)
	send := func(method, target, host string) int {
		f.upstream.target = ""
		response, _ := f.send(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nX-API-Key: allowed\r\n\r\n", method, target, host))
		if response.Close {
			f.conn.Close()
			f.dial()
		}
		return response.StatusCode
	}
	taken := func(method, target, host, want string) {
		t.Helper()
		if status := send(method, target, host); status != 200 || f.upstream.target != want {
			t.Errorf("%s %s: got %d, forwarded %q, not %q", method, target, status, f.upstream.target, want)
		}
	}
	taken("GET", "http://e/a//../%2f?b=%zz", "e", "/a//../%2f?b=%zz")
	taken("GET", "HTTPS://E:80/", "e:80", "/")
	taken("GET", "http://e", "e", "/")
	taken("GET", "http://e?a=http://x/", "e", "/?a=http://x/")
	taken("GET", "http://[::1]:80/a", "[::1]:80", "/a")
	taken("OPTIONS", "http://e", "e", "*")
	taken("OPTIONS", "http://e/", "e", "/")
	for _, target := range []string{"http://x/", "http://e:80/", "http://u@e/", "http://u:p@e/", "http:///", "http://e@/", "http:/e/", "http//e/",
		"ftp://e/", "://e/", "e/", "http://e%2f/", "http://e#/", "http://e./"} {
		if status := send("GET", target, "e"); status != 400 || f.upstream.target != "" {
			t.Errorf("%s: got %d, forwarded %q", target, status, f.upstream.target)
		}
	}
	if response, _ := f.send("GET http://e/ HTTP/1.0\r\nX-API-Key: allowed\r\n\r\n"); response.StatusCode != 400 {
		t.Errorf("without a Host line: got %d", response.StatusCode)
	}
}

func TestPublicPathsOfTargetsWithTheHost(t *testing.T) {
	f := start(t, func(c *server.Config) { c.Public = []string{"/docs"} })
	if response, _ := f.send("GET http://e/docs/a HTTP/1.1\r\nHost: e\r\n\r\n"); response.StatusCode != 200 || f.upstream.target != "/docs/a" {
		t.Errorf("got %d, forwarded %q", response.StatusCode, f.upstream.target)
	}
	if response, _ := f.send("GET http://e/a HTTP/1.1\r\nHost: e\r\n\r\n"); response.StatusCode != 401 {
		t.Errorf("got %d", response.StatusCode)
	}
}
