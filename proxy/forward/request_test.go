package forward_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"keygate/proxy/forward"
	"keygate/proxy/upstream"
)

// sorted returns the lines of a head after the first, in an order that does not depend on the sender.
func sorted(head string) []string {
	lines := strings.Split(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n")[1:]
	slices.Sort(lines)
	return lines
}

func TestARequestReachesTheUpstreamAsItIs(t *testing.T) {
	for _, test := range []struct{ name, sent, line, lines, body string }{
		{"a plain GET", "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET / HTTP/1.1", "Host: a.example", ""},
		{"a target that others would tidy up", "GET //a/../b%2Fc;x=%zz?q=%20a+b&&=? HTTP/1.1\r\nHost: h\r\n\r\n",
			"GET //a/../b%2Fc;x=%zz?q=%20a+b&&=? HTTP/1.1", "Host: h", ""},
		{"an empty query", "GET /a? HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a? HTTP/1.1", "Host: h", ""},
		{"an unknown method", "PURGE /a HTTP/1.1\r\nHost: h\r\n\r\n", "PURGE /a HTTP/1.1", "Host: h", ""},
		{"repeated names and odd values",
			"GET / HTTP/1.1\r\nHost: h\r\nvIA: b\r\nCookie: a=1;b=\"2\"; c\r\nVia: a\r\nCookie: d\r\nX-Empty:\r\n" +
				"X-Bytes: \xff\tz\r\nUser-Agent: u\r\nContent-Type: t\r\nUser-Agent: v\r\nContent-Type:  s \r\n\r\n",
			"GET / HTTP/1.1", "Host: h|vIA: b|Cookie: a=1;b=\"2\"; c|Via: a|Cookie: d|X-Empty:|X-Bytes: \xff\tz|" +
				"User-Agent: u|Content-Type: t|User-Agent: v|Content-Type:  s ", ""},
		{"a body without a type", post("/p", "hello"), "POST /p HTTP/1.1", "Host: example.com|Content-Length: 5", "hello"},
		{"an empty body", "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "POST /p HTTP/1.1",
			"Host: h|Content-Length: 0", ""},
		{"no body at all", "POST /p HTTP/1.1\r\nHost: h\r\n\r\n", "POST /p HTTP/1.1", "Host: h", ""},
		{"a DELETE with a body", "DELETE /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", "DELETE /p HTTP/1.1",
			"Host: h|Content-Length: 3", "abc"},
		{"a GET with a body", "GET /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", "GET /p HTTP/1.1",
			"Host: h|Content-Length: 3", "abc"},
		{"chunks with extensions and trailers", "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n" +
			"Trailer: X-Org-Id\r\n\r\n3;evil=1\r\nabc\r\n2\r\nde\r\n0\r\nX-Org-Id: evil\r\n\r\n", "POST /p HTTP/1.1",
			"Host: h|Transfer-Encoding: chunked", "abcde"},
		{"a GET with chunks", "GET /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
			"GET /p HTTP/1.1", "Host: h|Transfer-Encoding: chunked", "abc"},
		{"HTTP/1.0", "GET /a HTTP/1.0\r\nHost: h\r\n\r\n", "GET /a HTTP/1.1", "Host: h", ""},
		{"HTTP/1.0 with a body", "POST /a HTTP/1.0\r\nHost: h\r\nContent-Length: 2\r\n\r\nab", "POST /a HTTP/1.1",
			"Host: h|Content-Length: 2", "ab"},
		{"a client that closes", "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "GET /a HTTP/1.1", "Host: h", ""},
		{"a multipart body", "POST /m HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=\"a b\"\r\n" +
			"Content-Length: 18\r\n\r\npre\r\n--a b--\r\nepi\n", "POST /m HTTP/1.1",
			"Host: h|Content-Type: multipart/form-data; boundary=\"a b\"|Content-Length: 18", "pre\r\n--a b--\r\nepi\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			u := startUpstream(t, always(okAnswer))
			p := startProxy(t, forward.Config{}, u.url())
			if got := p.ask(test.sent); got.status() != 200 || got.body != "ok" {
				t.Fatalf("answered %q %q", got.head, got.body)
			}
			got := u.seen()[0]
			want := strings.Split(test.lines, "|")
			slices.Sort(want)
			if got.line() != test.line || !slices.Equal(sorted(got.head), want) || got.body != test.body || got.cut {
				t.Errorf("the upstream saw\n%q %q, want\n%q %q %q", got.head, got.body, test.line, want, test.body)
			}
		})
	}
}

func TestTheCallerGivesTheHeaderLinesAndTheTarget(t *testing.T) {
	u := startUpstream(t, always(okAnswer))
	other := startUpstream(t, always(okAnswer))
	p := startProxyWith(t, options{
		routes: []upstream.Route{{Prefix: "/b", URL: u.url()}},
		exchange: func(_ *fasthttp.RequestCtx, e *forward.Exchange) {
			e.Header = []byte("hOST: x\r\nx-a: 1\r\nX-A: 2\r\n")
			e.Target = []byte("/b?c")
		},
	}, other.url())
	p.ask(post("/a", "one"))
	if want := "POST /b?c HTTP/1.1\r\nhOST: x\r\nx-a: 1\r\nX-A: 2\r\nContent-Length: 3\r\n\r\n"; u.seen()[0].head != want {
		t.Errorf("the upstream saw %q", u.seen()[0].head)
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	u := startUpstream(t, func(u *service, p *peer) {
		for {
			m, ok := u.next(p)
			if !ok {
				return
			}
			answer := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + m.line()[5:7]
			if strings.HasPrefix(m.line(), "POST") {
				answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n" + m.body[:2] + "\r\n0\r\n\r\n"
			}
			p.send(answer)
		}
	})
	p := startProxy(t, forward.Config{}, u.url())
	c := p.client()
	var sent, want strings.Builder
	for _, name := range []string{"aa", "bb", "cc", "dd", "ee"} {
		sent.WriteString("GET /" + name + " HTTP/1.1\r\nHost: h\r\n\r\n" + post("/p", name))
		want.WriteString(name + name)
	}
	c.send(sent.String())
	var got strings.Builder
	for range 10 {
		got.WriteString(c.answer().body)
	}
	if got.String() != want.String() {
		t.Errorf("answered %s", got.String())
	}
}

func TestABodyBeyondTheLimitIsRefused(t *testing.T) {
	u := startUpstream(t, always(okAnswer))
	p := startProxy(t, forward.Config{MaxBody: 100 << 10}, u.url())
	for _, test := range []struct {
		name, request string
		status        int
	}{
		{"announced", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 102401\r\n\r\n" + strings.Repeat("x", 8192), 413},
		{"in chunks", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" +
			strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 26), 413},
		{"as long as allowed", post("/", strings.Repeat("x", 102400)), 200},
		{"as long as allowed, in chunks", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" +
			strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 25) + "0\r\n\r\n", 200},
	} {
		if got := p.ask(test.request); got.status() != test.status {
			t.Errorf("%s: %s", test.name, got.line())
		}
	}
}

func TestABodyThatBreaksOffIsTheClientsFault(t *testing.T) {
	u := startUpstream(t, always(okAnswer))
	p := startProxy(t, forward.Config{}, u.url())
	for _, test := range []struct{ name, request string }{
		{"short", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("x", 9000)},
		{"long", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\n" + strings.Repeat("x", 9000)},
		{"in a chunk", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"},
		{"between chunks", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"},
		{"in the trailers", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: "},
		{"a malformed chunk", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := p.client()
			c.send(test.request)
			closeWrite(t, c)
			if got := c.answer(); got.status() != 400 {
				t.Errorf("answered %q %s", got.head, got.body)
			}
		})
	}
	for _, m := range u.seen() {
		if !m.cut {
			t.Errorf("the upstream took %q for a whole request", m.body)
		}
	}
}
