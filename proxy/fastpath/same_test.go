package fastpath_test

import (
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// requests are of every kind that the fast path takes, of those that it leaves to others, and of those that are refused.
// Each is sent on a connection of its own, or after another one.
var requests = []string{
	get("/a?b=%2f"),
	get("/a", "X-Request-Id: mine"),
	get("/a", "Connection: keep-alive", "Keep-Alive: 5", "X-Org-Id: evil", "x_org_id: evil", "Cookie: a=b"),
	get("/a", "Connection: X-Mine", "X-Mine: 1"),
	get("/a", "Connection: close"),
	get("/a", "Content-Length: 0"),
	get("/a", "TE: trailers", "X-Forwarded-For: 6.6.6.6"),
	get("/a", "Upgrade: h2c"),
	get("/open/a"),
	get("http://edge/a"),
	get("//a/../b;c"),
	"GET /a HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer good\r\n\r\n",
	"GET /a HTTP/1.1\r\nHost: edge\r\nX-API-Key: good\r\nAuthorization: Basic eA==\r\n\r\n",
	"GET /a HTTP/1.0\r\nX-API-Key: good\r\nConnection: keep-alive\r\n\r\n",
	"HEAD /a HTTP/1.1\r\nHost: edge\r\nX-API-Key: good\r\n\r\n",
	"DELETE /a HTTP/1.1\r\nHost: edge\r\nX-API-Key: good\r\n\r\n",
	"DELETE /a HTTP/1.1\r\nHost: edge\r\nX-API-Key: good\r\nContent-Length: 2\r\n\r\nhi",
	"PUT /a HTTP/1.1\r\nHost: edge\r\nX-API-Key: good\r\ncontent-length:  0003\r\n\r\nabc",
	"BREW /a HTTP/1.1\r\nHost: edge\r\nX-API-Key: good\r\n\r\n",
	"get /a HTTP/1.1\r\nHost: edge\r\nX-API-Key: good\r\n\r\n",
	post("/a", "Content-Length: 5\r\n\r\nhello"),
	post("/a", "Content-Length: 0\r\n\r\n"),
	post("/a", "\r\n"),
	post("/a", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
	post("/a", "Content-Length: 70000\r\n\r\n"+strings.Repeat("x", 70_000)),
	post("/a", "Content-Length: 65300\r\n\r\n"+strings.Repeat("x", 65_300)), // which is longer than a buffer when it leaves
	post("/a", "Content-Length: 000000000000000002\r\n\r\nhi"),
	strings.Replace(get("/a"), "Host: edge", "Host: [x", 1),
	strings.Replace(get("/a"), "Host: edge", "Host: a%zz", 1),
	strings.Replace(get("/a"), "Host: edge", "Host: a:b:c", 1),
	strings.Replace(get("/a"), "Host: edge", "Host: a:x", 1),
	strings.Replace(get("/a"), "Host: edge", "Host: a:99999999", 1),
	strings.Replace(get("/a"), "Host: edge", "Host: [::1]:80", 1),
	strings.Replace(get("/a"), "Host: edge", "Host: a.example.com:8080", 1),
	get("//[/x"), get("//a://b"), get("/%zz"), get("//x%zz/://y"), get("/a\\b|c\"d"), get("/?%"),
	get("/a", "Trailer: Content-Length"), get("/a", "Cookie: ;;;=", "Cookie: b"), get("/a", "User-Agent:", "User-Agent: b"),
	get("/a", "Proxy-Connection: close"), get("/a", "X:"), get("/a", "A: \x80\xff"),
	post("/a", "Content-Length: 100001\r\n\r\nx"),
	post("/a", "Content-Length: 5\r\n\r\nhello"+get("/behind")),
	"\r\n" + get("/a"),
	get("/a", "X-API-Key: good"),
	get("/a", "Authorization: Bearer good"),
	with("bad", get("/a")),
	with("bad", get("/a", "X-Request-Id: mine")),
	with("bad", post("/a", "Content-Length: 5\r\n\r\nhello")),
	with("bad", post("/a", "Content-Length: 50\r\n\r\nhello")),
	strings.Replace(get("/a"), "X-API-Key: good\r\n", "", 1),
	strings.Replace(get("/a"), "Host: edge", "Host: a b", 1),
	get("/a", "Host: two"),
	get("/a", "Expect: 200-ok"),
	get("/a", " folded"),
	get("/a", "A : b"),
	get("/a", "A: \x01"),
	get("/\x80"),
	"GET  /a HTTP/1.1\r\nHost: edge\r\nX-API-Key: good\r\n\r\n",
	"GET /a  HTTP/1.1\r\nHost: edge\r\nX-API-Key: good\r\n\r\n",
	"GET /a HTTP/1.1\nHost: edge\r\nX-API-Key: good\r\n\r\n",
	"GET /a HTTP/1.1\r\nHost: edge\r\nX-API-Key: good\n\r\n",
	"GET /a HTTP/1.2\r\nHost: edge\r\nX-API-Key: good\r\n\r\n",
	"TRACE /a HTTP/1.1\r\nHost: edge\r\nX-API-Key: good\r\n\r\n",
	post("/a", "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
	post("/a", "Content-Length: +5\r\n\r\nhello"),
	post("/a", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
}

// answers are of every kind, good and bad. The server writes some lines anew that the fast path passes on as they are: it
// drops zeros before a length, an empty Content-Type, and all of repeated ones but the last.
var answers = []string{
	created,
	"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nX-ODD-name: 1\r\nContent-Length: 3\r\n\r\nabc",
	"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 1\r\n\r\na",
	"HTTP/1.1 404 Not Found\r\nDate: Mon, 23 Nov 2026 15:00:00 GMT\r\nServer: x\r\nContent-Length: 1\r\n\r\na",
	"HTTP/1.1 204 No Content\r\n\r\n",
	"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
	"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
	"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
	"HTTP/1.1 205 Reset\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nX-Empty:\r\nTrailer: X\r\nX-A: \x80\xff\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/; weird\r\nSet-Cookie: novalue\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("y", 20_000) + "unasked",
	"HTTP/1.1 200 OK\r\nX-Pad: " + strings.Repeat("p", 20_000) + "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
	"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + created,
	"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1\r\n\r\na",
	"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + strings.Repeat("y", 70_000),
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\n\r\nab",
	"garbage\r\n\r\n",
}

// random are the parts of a request that no two have alike.
var random = regexp.MustCompile(`(?m)^(X-Keygate-Id|X-Request-Id): [0-9a-f-]{36}\r$`)

// Ensure nobody can tell which way a request went: neither the upstream, to the byte, nor the client.
func TestBothWaysForwardTheSame(t *testing.T) {
	var answer atomic.Value
	a := newAPI(t, func(c net.Conn, _ string) { _, _ = io.WriteString(c, answer.Load().(string)) })
	fast, slow := newEdge(t, a), newEdge(t, a, slowly)
	exchange := func(e *edge, raw, text string) (string, string) {
		t.Helper()
		answer.Store(created)
		e.warm() // a bad answer has cost the idle connection
		answer.Store(text)
		before := len(a.seen())
		c := e.dial()
		defer c.Close()
		told := describe(c.ask(raw))
		if strings.Contains(raw, "/behind") {
			told += describe(c.hear("GET"))
		}
		sent := random.ReplaceAllString(strings.Join(a.seen()[before:], "\n"), "$1: …\r")
		// An upstream's connection is used again after this or it is not.
		opened := a.opened()
		answer.Store(created)
		c.Close()
		e.warm()
		return sent, fmt.Sprintln(told, a.opened()-opened)
	}
	compare := func(raw, text string) {
		t.Helper()
		sent, told := exchange(fast, raw, text)
		wantSent, wantTold := exchange(slow, raw, text)
		if sent != wantSent {
			t.Errorf("%.200q, answered by %.80q: the upstream was sent %.500q, and %.500q the other way", raw, text, sent, wantSent)
		}
		if told != wantTold {
			t.Errorf("%.200q, answered by %.80q: the client was told %.500q, and %.500q the other way", raw, text, told, wantTold)
		}
	}
	for _, raw := range requests {
		compare(raw, created)
	}
	for _, text := range answers {
		compare(get("/a"), text)
		compare(get("/twice"), text)
		compare(post("/a", "Content-Length: 5\r\n\r\nhello"), text)
	}
	if ways := fast.ways(); ways[0] == 0 || ways[1] == 0 || ways[2] == 0 || ways[3] == 0 {
		t.Errorf("not every way was gone: %v", ways)
	}
}

var requestID = regexp.MustCompile(`"request_id":"[0-9a-f-]{36}"`)

// describe leaves out what is allowed to differ: the order of header lines and the case of their names.
func describe(r reply) string {
	var lines []string
	delete(r.header, "Date")
	for name, values := range r.header {
		lines = append(lines, fmt.Sprint(name, values))
	}
	slices.Sort(lines)
	return fmt.Sprintln(r.status, lines, r.whole, r.closes, requestID.ReplaceAllString(r.body, ""))
}
