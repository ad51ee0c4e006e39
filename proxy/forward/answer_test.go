package forward_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/proxy/forward"
)

// answers is what upstreams may say to a GET before they close, what the client gets of it, and whether the connection
// would have been used again if they had not closed. A status of 502 means that nothing of the answer was passed on.
var answers = []struct {
	name, sent string
	status     int
	body       string
	reused     bool
}{
	// Legal.
	{"a length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true},
	{"a length of zero", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", true},
	{"a length with zeros before it", "HTTP/1.1 200 OK\r\nContent-Length: 0002\r\n\r\nok", 200, "ok", true},
	{"a length in white space", "HTTP/1.1 200 OK\r\nContent-Length: \t 2 \t\r\n\r\nok", 200, "ok", true},
	{"a name in other letters", "HTTP/1.1 200 OK\r\ncONTENT-lENGTH:2\r\n\r\nok", 200, "ok", true},
	{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", 200, "ok", true},
	{"a coding in other letters", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "ok", true},
	{"chunks with extensions", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0;c\r\n\r\n", 200, "ok", true},
	{"chunks with trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n",
		200, "ok", true},
	{"no chunk but the last", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, "", true},
	{"a size with zeros before it", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00002\r\nok\r\n0\r\n\r\n", 200, "ok", true},
	{"a size in capitals", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", 200,
		"0123456789", true},
	{"until the end", "HTTP/1.1 200 OK\r\n\r\nok", 200, "ok", false},
	{"HTTP/1.0 with a length", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false},
	{"HTTP/1.0 until the end", "HTTP/1.0 200 OK\r\n\r\nok", 200, "ok", false},
	{"close", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", 200, "ok", false},
	{"close among others", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: a\r\nConnection: b, CLOSE\r\n\r\nok", 200,
		"ok", false},
	{"no reason", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", 200, "ok", true},
	{"not even a space", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true},
	{"a strange reason", "HTTP/1.1 200 Very\tw\xe9ll\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true},
	{"a status that nobody knows", "HTTP/1.1 799 What\r\nContent-Length: 2\r\n\r\nok", 799, "ok", true},
	{"a header without a value", "HTTP/1.1 200 OK\r\nX:\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true},
	{"interim answers", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n" +
		"Content-Length: 2\r\n\r\nok", 200, "ok", true},
	{"nothing to say", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", true},
	{"nothing to say, at length", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, "", true},
	{"not modified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, "", true},
	{"not modified, in chunks", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", 304, "", true},
	{"a long head", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 60000) + "\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true},
	{"a body with a 204", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", 204, "", false},
	{"a body with a 304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok", 304, "", false},
	{"more than was announced", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!", 200, "ok", false},
	{"another answer at once", okAnswer + okAnswer, 200, "ok", false},
	{"more than the last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nx", 200, "ok", false},

	// Heads that are not.
	{"nothing", "", 502, "", false},
	{"half a head", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", 502, "", false},
	{"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", 502, "", false},
	{"HTTP/0.9", "ok", 502, "", false},
	{"another protocol", "SSH-2.0-OpenSSH\r\n", 502, "", false},
	{"an empty line first", "\r\n" + okAnswer, 502, "", false},
	{"HTTP/2", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"HTTP/1.2", "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"a longer version", "HTTP/1.10 200 OK\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"http in small letters", "http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"two spaces", "HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"a short status", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"a long status", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"a signed status", "HTTP/1.1 +20 OK\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"a status below 100", "HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"no status", "HTTP/1.1\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"a control character in the reason", "HTTP/1.1 200 O\x00K\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"a bare CR in the reason", "HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"bare LF", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 502, "", false},
	{"a bare LF", "HTTP/1.1 200 OK\r\nA: b\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"a bare LF at the end", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok", 502, "", false},
	{"a bare CR", "HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"a fold", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"a fold in the first line", "HTTP/1.1 200 OK\r\n A: b\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"a folded length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nok", 502, "", false},
	{"a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", 502, "", false},
	{"a space in a name", "HTTP/1.1 200 OK\r\nContent Length: 2\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"no name", "HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"no colon", "HTTP/1.1 200 OK\r\nA\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"NUL in a value", "HTTP/1.1 200 OK\r\nA: \x00\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"a head without an end", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 70000), 502, "", false},
	{"too many lines", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 1000) + "Content-Length: 2\r\n\r\nok", 502, "", false},
	{"too many interim answers", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 20) + okAnswer, 502, "", false},
	{"a switch of protocols", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		502, "", false},

	// Framing that can be read in two ways.
	{"a length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		502, "", false},
	{"chunks and a length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 12\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		502, "", false},
	{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk", 502, "", false},
	{"the same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", 502, "", false},
	{"a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", 502, "", false},
	{"a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", 502, "", false},
	{"a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", 502, "", false},
	{"a length in hexadecimal", "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok", 502, "", false},
	{"a length with an underscore", "HTTP/1.1 200 OK\r\nContent-Length: 0_2\r\n\r\nok", 502, "", false},
	{"an empty length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok", 502, "", false},
	{"a length beyond 64 bits", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok", 502, "", false},
	{"another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok", 502, "", false},
	{"the identity coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok", 502, "", false},
	{"two codings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 502, "", false},
	{"a coding twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		502, "", false},
	{"a coding of HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 502, "", false},
}

// brokenBodies are chunked bodies that are wrong after some of them may have been passed on. The client must be able to
// tell: it never sees the last chunk.
var brokenBodies = []struct{ name, chunks string }{
	{"no last chunk", "2\r\nok\r\n"},
	{"half a chunk", "3\r\nok"},
	{"half a size", "2\r\nok\r\n1"},
	{"half a trailer", "2\r\nok\r\n0\r\nA: b\r\n"},
	{"no end of the last chunk", "2\r\nok\r\n0\r\n"},
	{"too long a chunk", "2\r\nokk\r\n0\r\n\r\n"},
	{"bare LF after the size", "2\nok\r\n0\r\n\r\n"},
	{"bare LF after the data", "2\r\nok\n0\r\n\r\n"},
	{"bare LF in the extension", "2;a\nb\r\nok\r\n0\r\n\r\n"},
	{"bare LF after the last chunk", "2\r\nok\r\n0\n\n"},
	{"bare LF after a trailer", "2\r\nok\r\n0\r\nA: b\n\r\n"},
	{"bare LF at the end", "2\r\nok\r\n0\r\n\n"},
	{"no size", "\r\nok\r\n0\r\n\r\n"},
	{"a negative size", "-2\r\nok\r\n0\r\n\r\n"},
	{"a signed size", "+2\r\nok\r\n0\r\n\r\n"},
	{"a size with a prefix", "0x2\r\nok\r\n0\r\n\r\n"},
	{"a size of other digits", "2g\r\nok\r\n0\r\n\r\n"},
	{"a size with a space before it", " 2\r\nok\r\n0\r\n\r\n"},
	{"a size beyond 64 bits", "10000000000000002\r\nok\r\n0\r\n\r\n"},
	{"a negative size in 64 bits", "ffffffffffffffff\r\nok\r\n0\r\n\r\n"},
	{"an extension without an end", "2;" + strings.Repeat("a", 70000)},
	{"trailers without an end", "2\r\nok\r\n0\r\n" + strings.Repeat("A: b\r\n", 20000)},
}

// once answers the first request of each connection with text, and closes.
func once(text string) func(u *service, p *peer) {
	return func(u *service, p *peer) {
		if _, ok := u.next(p); ok {
			p.send(text)
		}
	}
}

// answering starts an upstream that answers a request for /n by texts[n], and a proxy before it.
func answering(t *testing.T, texts []string, thenClose bool) (*service, *proxy) {
	u := startUpstream(t, func(u *service, p *peer) {
		for first := true; first || !thenClose; first = false {
			m, ok := u.next(p)
			if !ok {
				return
			}
			n, _ := strconv.Atoi(strings.Fields(m.line())[1][1:])
			p.send(texts[n])
		}
	})
	return u, startProxy(t, forward.Config{}, u.url())
}

func TestAnswersAreReadStrictly(t *testing.T) {
	var texts []string
	for _, test := range answers {
		texts = append(texts, test.sent)
	}
	_, p := answering(t, texts, true)
	for n, test := range answers {
		t.Run(test.name, func(t *testing.T) {
			// The client's own connection stays usable, and nothing of an answer is left on it.
			c := p.client()
			for range 2 {
				c.send(fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: h\r\n\r\n", n))
				got := c.answer()
				if got.status() != test.status || test.status != 502 && got.body != test.body || got.cut {
					t.Errorf("answered %q %q", got.head, got.body)
				}
				if got.values("Trailer") != nil || !strings.HasPrefix(got.head, "HTTP/1.1 ") {
					t.Errorf("passed on %q", got.head)
				}
			}
		})
	}
}

func TestAConnectionIsUsedAgainOnlyIfTheAnswerLeftNothing(t *testing.T) {
	texts := []string{okAnswer}
	for _, test := range answers {
		texts = append(texts, test.sent)
	}
	u, p := answering(t, texts, false)
	for n, test := range answers {
		if test.status == 502 || strings.Contains(test.name, "until the end") {
			continue // those never end, unless the upstream closes the connection
		}
		t.Run(test.name, func(t *testing.T) {
			p.get("/0")
			before, _ := u.counts()
			p.get(fmt.Sprintf("/%d", n+1))
			eventually(t, "the connection is given back", func() bool { return p.metric("connections", "active") == 0 })
			if idle := p.metric("connections", "idle") == 1; idle != test.reused {
				t.Errorf("kept for reuse: %t", idle)
			}
			p.get("/0")
			if after, _ := u.counts(); (after == before) != test.reused {
				t.Errorf("%d connections", after-before)
			}
		})
	}
}

func TestABrokenBodyIsPassedOnAsBroken(t *testing.T) {
	var texts []string
	for _, test := range brokenBodies {
		texts = append(texts, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+test.chunks)
	}
	_, p := answering(t, texts, true)
	counted := 0.0
	for n, test := range brokenBodies {
		for _, version := range []string{"HTTP/1.1", "HTTP/1.0"} {
			t.Run(test.name+" to "+version, func(t *testing.T) {
				c := p.client()
				c.send(fmt.Sprintf("GET /%d %s\r\nHost: h\r\n\r\n", n, version))
				got, ok := c.message(true)
				if ok && !got.cut {
					t.Errorf("the client takes %q %q for whole", got.head, got.body)
				}
				if rest, _ := io.ReadAll(c.r); strings.Contains(string(rest), "HTTP/") {
					t.Errorf("then it gets %q", rest)
				}
				counted++
				eventually(t, "it is counted", func() bool { return p.metric("truncated_total") == counted })
			})
		}
	}
}

func TestALongBodyThatBreaksOffIsPassedOnAsBroken(t *testing.T) {
	u := startUpstream(t, once("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 99999)))
	p := startProxy(t, forward.Config{}, u.url())
	if got := p.get("/"); !got.cut || len(got.body) != 99999 {
		t.Errorf("got %d bytes, cut %t", len(got.body), got.cut)
	}
	eventually(t, "it is counted", func() bool { return p.metric("truncated_total") == 1 })
}

func TestAnAnswerReachesTheClientAsItIs(t *testing.T) {
	const head = "HTTP/1.1 203 Sort Of\r\nserver: s/1\r\nDATE: then\r\nx-Case: Kept \r\nVia: b\r\nSet-Cookie: a=1; Path=/\r\n" +
		"vIA: a\r\nset-cookie: b=2\r\nX-Empty:\r\nETag: \"e\"\r\nWWW-Authenticate: x\r\nX-Bytes: \xff\r\n"
	const hop = "Connection: keep-alive, X-Private\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: a\r\nx-private: p\r\n" +
		"Upgrade: h2c\r\nTE: trailers\r\nConnection: X-Other\r\nX-Other: o\r\nTrailer: Via\r\n"
	want := []string{"DATE: then", "ETag: \"e\"", "Server: s/1", "Set-Cookie: a=1; Path=/", "Set-Cookie: b=2", "Via: b",
		"WWW-Authenticate: x", "X-Bytes: \xff", "X-Empty: ", "vIA: a", "x-Case: Kept"}
	for _, test := range []struct{ name, framing, body, want string }{
		{"a length", "Content-Length: 2\r\n\r\n", "ok", "Content-Length: 2"},
		{"a great length", "Content-Length: 100000\r\n\r\n", strings.Repeat("o", 100000), "Content-Length: 100000"},
		{"chunks", "Transfer-Encoding: chunked\r\n\r\n", "2\r\nok\r\n0\r\n\r\n", "Transfer-Encoding: chunked"},
	} {
		t.Run(test.name, func(t *testing.T) {
			u := startUpstream(t, always(head+hop+test.framing+test.body))
			p := startProxy(t, forward.Config{}, u.url())
			got := p.get("/")
			all := append([]string{test.want}, want...)
			slices.Sort(all)
			if got.line() != "HTTP/1.1 203 Sort Of" || !slices.Equal(sorted(got.head), all) {
				t.Errorf("got %q\n%q, want\n%q", got.line(), sorted(got.head), all)
			}
			if got.value("Via") != "b|a" || got.value("Set-Cookie") != "a=1; Path=/|b=2" {
				t.Errorf("the order changed: %q", got.head)
			}
		})
	}
}

func TestNothingFollowsTheHeadOfAnAnswerToHEAD(t *testing.T) {
	for _, test := range []struct{ name, answer, length string }{
		{"a length", "HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n", "5000000"},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ""},
		{"nothing", "HTTP/1.1 200 OK\r\n\r\n", ""},
		{"a length of zero", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "0"},
		{"not modified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "7"},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			u := startUpstream(t, always(test.answer))
			p := startProxy(t, forward.Config{}, u.url())
			c := p.client()
			for range 2 {
				c.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
				if head := c.head(); (message{head: head}).value("Content-Length") != test.length {
					t.Errorf("answered %q", head)
				}
			}
			closeWrite(t, c)
			if rest, _ := io.ReadAll(c.r); len(rest) > 0 {
				t.Errorf("followed by %q", rest)
			}
			if n, m := u.counts(); n != 1 || m != 2 {
				t.Errorf("%d connections, %d requests", n, m)
			}
		})
	}
}

func TestAnHTTP10ClientGetsNoChunks(t *testing.T) {
	for _, upstreams := range []string{
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: y\r\n\r\nok",
	} {
		u := startUpstream(t, once(upstreams))
		p := startProxyWith(t, options{
			after: func(ctx *fasthttp.RequestCtx) { ctx.Response.Header.Set("X-Late", "z") }}, u.url())
		c := p.client()
		c.send("GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n")
		got, _ := c.message(true)
		want := []string{"Connection: close", "X-Late: z", "X: y"}
		if got.body != "ok" || got.cut || !slices.Equal(sorted(got.head), want) {
			t.Errorf("answered %q %q, cut %t", got.head, got.body, got.cut)
		}
	}
}

func TestAHopelessHeadIsNotWaitedFor(t *testing.T) {
	for _, sent := range []string{"HTTP/1.1 200 OK\n\n", "HTTP/1.1 200 OK\r\nA: b\n", "SSH-2.0-OpenSSH\r\n", "\x15\x03\x01", "HTTP/2"} {
		u := startUpstream(t, func(u *service, p *peer) {
			u.next(p)
			p.send(sent)
			u.next(p) // it does not close
		})
		p := startProxy(t, forward.Config{ResponseTimeout: time.Minute}, u.url())
		if got := p.get("/"); got.status() != 502 || !errors.Is(p.lastError(), forward.ErrBadResponse) {
			t.Errorf("%q: answered %q: %v", sent, got.head, p.lastError())
		}
	}
}

func TestErrorsSayWhatWentWrong(t *testing.T) {
	for _, test := range []struct {
		name, sent string
		want       error
	}{
		{"malformed", "HTTP/1.1 2000\r\n\r\n", forward.ErrBadResponse},
		{"too long", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 70000), forward.ErrBadResponse},
		{"closed", "", forward.ErrUnreachable},
		{"closed in the head", "HTTP/1.1 200 OK\r\n", forward.ErrUnreachable},
		{"closed in a short body", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", forward.ErrUnreachable},
	} {
		u := startUpstream(t, once(test.sent))
		p := startProxy(t, forward.Config{}, u.url())
		p.get("/")
		if !errors.Is(p.lastError(), test.want) {
			t.Errorf("%s: %v", test.name, p.lastError())
		}
		outcome := map[error]string{forward.ErrBadResponse: "bad_response", forward.ErrUnreachable: "unreachable"}[test.want]
		if n := p.metric("requests_total", fmt.Sprintf("%q", outcome)); n != 1 {
			t.Errorf("%s: counted %v times", test.name, n)
		}
	}
}
