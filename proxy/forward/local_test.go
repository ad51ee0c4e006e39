package forward_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/proxy/forward"
	"keygate/proxy/upstream"
)

// repeatBack answers with what a local upstream is given.
func repeatBack(ctx *fasthttp.RequestCtx) {
	ctx.SetStatusCode(fasthttp.StatusCreated)
	ctx.SetContentType("text/plain")
	fmt.Fprintf(ctx, "%s%s|%s", ctx.Request.Header.RequestURI(), ctx.Request.Header.RawHeaders(), ctx.Request.Body())
	ctx.SetConnectionClose() // of the connection that it would have had
}

func TestALocalUpstreamIsGivenWhatWouldBeSent(t *testing.T) {
	u := startUpstream(t, always(okAnswer))
	for name, request := range map[string]string{
		"POST":           post("/p?q=1", "body"),
		"without a body": "POST /p HTTP/1.1\r\nHost: example.com\r\nContent-Length: 0\r\n\r\n",
		"GET":            "GET /%2e?x HTTP/1.1\r\nHost: example.com\r\nodd-Name:  v \r\nA: 1\r\nA: 2\r\n\r\n",
		"HTTP/1.0":       "POST /p HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\nbody",
		"64 KiB":         post("/p", strings.Repeat("x", 64<<10)),
	} {
		t.Run(name, func(t *testing.T) {
			sent, _ := u.counts()
			startProxy(t, forward.Config{}, u.url()).ask(request)
			over := u.seen()[len(u.seen())-1]
			before, _ := u.counts()
			if before != sent+1 {
				t.Fatal("the request did not come over a connection")
			}
			local := startProxy(t, forward.Config{Local: repeatBack}, u.url())
			c := local.client()
			for range 2 { // on one connection, which stays open
				c.send(request)
				got := c.answer()
				line, lines, _ := strings.Cut(over.head, "\r\n")
				want := strings.Fields(line)[1] + lines + "|" + over.body
				if got.status() != 201 || got.body != want {
					t.Errorf("given %q, over a connection %q", got.body, want)
				}
				if date, err := time.Parse(time.RFC1123, got.value("Date")); err != nil || time.Since(date) > time.Minute {
					t.Errorf("the answer's date is %q", got.value("Date"))
				}
			}
			if after, _ := u.counts(); after != before {
				t.Error("a connection was opened all the same")
			}
			if n := local.metric("requests_total", "2xx"); n < 2 {
				t.Errorf("%v answers are counted", n)
			}
		})
	}
}

func TestWhatIsNotHeldOrHasARouteIsSent(t *testing.T) {
	u, other := startUpstream(t, always(okAnswer)), startUpstream(t, always(okAnswer))
	p := startProxyWith(t, options{
		config: forward.Config{Local: repeatBack}, routes: []upstream.Route{{Prefix: "/other", URL: other.url()}},
	}, u.url())
	for _, request := range []string{
		post("/p", strings.Repeat("x", 64<<10+1)),
		"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
		post("/other", "body"),
	} {
		if got := p.ask(request); got.status() != 200 {
			t.Errorf("%.40q is answered %q", request, got.head)
		}
	}
	_, sent := u.counts()
	if _, routed := other.counts(); sent != 2 || routed != 1 {
		t.Errorf("%d requests were sent, %d by the route", sent, routed)
	}
}

func TestALocalUpstreamThatRefusesIsAskedAgainOnce(t *testing.T) {
	u := startUpstream(t, always(okAnswer))
	for _, test := range []struct {
		name, path, refusal string
		refusals            int
		status, asked       int
	}{
		{"then accepted", "/yes", "busy", 1, 201, 2},
		{"refused again", "/yes", "busy", 2, 503, 2},
		{"not idempotent", "/no", "busy", 1, 503, 1},
		{"which may have stored it", "/yes", `{"code":"commit_unknown"}`, 1, 503, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked := 0
			p := startProxy(t, forward.Config{Idempotent: []string{"/yes"}, Local: func(ctx *fasthttp.RequestCtx) {
				if asked++; asked > test.refusals {
					repeatBack(ctx)
					return
				}
				ctx.Error(test.refusal, fasthttp.StatusServiceUnavailable)
				ctx.Response.Header.Set("Retry-After", "1")
			}}, u.url())
			got := p.ask(post(test.path, "body"))
			if got.status() != test.status || asked != test.asked {
				t.Errorf("asked %d times, and answered %q", asked, got.head)
			}
			if refused := got.status() == 503; refused != (got.value("Retry-After") != "") || refused != (got.body == test.refusal) {
				t.Errorf("answered %q %q", got.head, got.body)
			}
			if got.status() == 201 && !strings.HasSuffix(got.body, "|body") {
				t.Errorf("the second time it was given %q", got.body)
			}
		})
	}
}
