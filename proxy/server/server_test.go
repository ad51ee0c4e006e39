package server_test

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"keygate/proxy/forward"
	"keygate/proxy/identity"
	"keygate/proxy/server"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

func TestEachDecisionHasItsAnswer(t *testing.T) {
	f := start(t)
	check := func(key string, status int, code any, header string) {
		t.Helper()
		response, problem := f.send(get(key))
		if response.StatusCode != status || problem["code"] != code {
			t.Errorf("%s: got %d %v", key, response.StatusCode, problem)
		}
		if header != "" && response.Header.Get(header) == "" {
			t.Errorf("%s: no %s", key, header)
		}
	}
	check("allowed", 200, nil, "")
	check("suspended", 403, "organization_suspended", "")
	check("unavailable", 503, "auth_unavailable", "Retry-After")
	for _, key := range []string{"malformed", "no_such_key", "wrong_secret", "revoked", "expired"} {
		check(key, 401, "invalid_api_key", "WWW-Authenticate")
	}
	check("allowed", 200, nil, "") // all of it on one connection
	if f.upstream.calls != 2 {
		t.Errorf("the upstream was called %d times", f.upstream.calls)
	}
}

// Ensure clients cannot tell why a key is refused: the answers are the same but for the request's id.
func TestRefusedKeysLookTheSame(t *testing.T) {
	f := start(t)
	var first string
	for _, key := range []string{"malformed", "no_such_key", "wrong_secret", "revoked", "expired"} {
		response, problem := f.send(get(key))
		delete(problem, "request_id")
		response.Header.Del("Date")
		if got := fmt.Sprint(response.Status, response.Header, problem); first == "" {
			first = got
		} else if got != first {
			t.Errorf("%s: got %s, and before %s", key, got, first)
		}
	}
}

func TestWhatIsForwarded(t *testing.T) {
	f := start(t)
	f.send("GET //a/../%2f?x=%zz HTTP/1.1\r\nhost: edge\r\nX-API-Key: allowed\r\nX-Org-Id: evil\r\nX_Org_Id: evil\r\n" +
		"Connection: X-Org-Id, X-Mine\r\nTrailer: X-Org-Id\r\nX-Mine: 1\r\nx-kept:  two\r\n\r\n")
	if f.upstream.target != "//a/../%2f?x=%zz" {
		t.Errorf("the target was %q", f.upstream.target)
	}
	if strings.Contains(f.upstream.header, "evil") || strings.Contains(f.upstream.header, "X-Mine") ||
		!strings.HasPrefix(f.upstream.header, "host: edge\r\nx-kept:  two\r\n") ||
		!strings.Contains(f.upstream.header, "X-Org-Id: org-1\r\nX-Org-Key: prefix\r\nX-Keygate-Id: ") {
		t.Errorf("the header was %q", f.upstream.header)
	}
}

func TestAnUpgradeIsAskedForByBothItsLinesInHTTP11(t *testing.T) {
	f := start(t)
	const key = "Host: e\r\nX-API-Key: allowed\r\n"
	for raw, want := range map[string]string{
		"GET / HTTP/1.1\r\n" + key + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n":                          "websocket",
		"GET / HTTP/1.1\r\n" + key + "Connection: keep-alive, upgrade\r\nupgrade: x/1\r\n\r\n":                    "x/1",
		"GET / HTTP/1.1\r\n" + key + "Upgrade: websocket\r\n\r\n":                                                 "",
		"GET / HTTP/1.1\r\n" + key + "Connection: Upgrade\r\n\r\n":                                                "",
		"GET / HTTP/1.1\r\n" + key + "Connection: Upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n\r\n":                    "",
		"GET / HTTP/1.0\r\n" + key + "Connection: Upgrade, keep-alive\r\nUpgrade: websocket\r\n\r\n":              "",
		"GET / HTTP/1.1\r\n" + key + "Connection: X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: 1\r\n\r\n": "websocket",
	} {
		if response, _ := f.send(raw); response.StatusCode != 200 || f.upstream.upgrade != want || strings.Contains(strings.ToLower(f.upstream.header), "upgrade") {
			t.Errorf("%q: %d, an upgrade to %q, with %q", raw, response.StatusCode, f.upstream.upgrade, f.upstream.header)
		}
	}
}

// What has been let through without a key has none that could be revoked.
func TestWhoHasShownAKeyIsWatched(t *testing.T) {
	f := start(t, func(c *server.Config) { c.Public = []string{"/docs"} })
	if f.send(get("allowed")); !f.upstream.watched {
		t.Error("an exchange with a key is not watched")
	}
	if f.send("GET /docs HTTP/1.1\r\nHost: e\r\n\r\n"); f.upstream.watched || f.upstream.calls != 2 {
		t.Error("an exchange without a key is watched")
	}
}

func TestTheUpstreamIsToldWhereARequestComesFrom(t *testing.T) {
	const claim = "X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\nX-Forwarded-Proto: https\r\n"
	raw := strings.Replace(get("allowed"), "Host", claim+"Host", 1)
	check := func(hops int, address, want string) {
		t.Helper()
		f := start(t, func(c *server.Config) {
			c.Address, c.Public = address, []string{"/docs"}
			c.Policy = identity.New(identity.Policy{OrgHeader: "X-Org-Id", Carriers: identity.XAPIKey, TrustedHops: hops})
		})
		for _, request := range []string{raw, raw, strings.Replace(raw, "/a", "/docs", 1)} { // one after another, and without a key
			f.send(request)
			if got := "\r\n" + f.upstream.header; strings.Count(strings.ToLower(got), "x-forwarded-") != strings.Count(want, "X-F") || !strings.Contains(got, want) {
				t.Errorf("%d hops at %s: the header was %q", hops, address, got)
			}
		}
	}
	const host = "\r\nX-Forwarded-Host: edge\r\n"
	check(0, "127.0.0.1:0", "\r\nX-Real-IP: 127.0.0.1\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http"+host)
	check(1, "127.0.0.1:0", "\r\nX-Real-IP: 203.0.113.7\r\nX-Forwarded-For: 203.0.113.7, 127.0.0.1\r\nX-Forwarded-Proto: https"+host)
	check(1, "[::1]:0", "\r\nX-Real-IP: 203.0.113.7\r\nX-Forwarded-For: 203.0.113.7, ::1\r\nX-Forwarded-Proto: https"+host)
	check(0, "unix:"+filepath.Join(t.TempDir(), "s"), "\r\nX-Forwarded-Proto: http"+host)
}

func TestAKeyIsLookedUpForTheAddressThatItCameFrom(t *testing.T) {
	raw := strings.Replace(get("allowed"), "Host", "X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\nHost", 1)
	check := func(hops int, address, want string) {
		t.Helper()
		f := start(t, func(c *server.Config) {
			c.Address = address
			c.Policy = identity.New(identity.Policy{OrgHeader: "X-Org-Id", Carriers: identity.XAPIKey, TrustedHops: hops})
		})
		f.send(raw)
		if got := f.auth.from.String(); got != want {
			t.Errorf("%d hops at %s: looked up for %s, want %s", hops, address, got, want)
		}
	}
	check(0, "127.0.0.1:0", "127.0.0.1")
	check(1, "127.0.0.1:0", "203.0.113.7")
	check(0, "[::1]:0", "::1")
	check(0, "unix:"+filepath.Join(t.TempDir(), "s"), "invalid IP")
	check(1, "unix:"+filepath.Join(t.TempDir(), "s"), "203.0.113.7")
}

func TestTheRequestIdIsKeptIfSaneAndMintedElse(t *testing.T) {
	f := start(t)
	send := func(id string) string {
		_, problem := f.send("GET / HTTP/1.1\r\nHost: e\r\nX-Request-Id: " + id + "\r\n\r\n")
		got, _ := problem["request_id"].(string)
		return got
	}
	if got := send("req-1"); got != "req-1" {
		t.Errorf("got %q", got)
	}
	for _, id := range []string{"", "a b", `a"b`, strings.Repeat("x", 200)} {
		if got := send(id); got == id || len(got) != 36 {
			t.Errorf("%q became %q", id, got)
		}
	}
	f.send("GET / HTTP/1.1\r\nHost: e\r\nX-API-Key: allowed\r\nX-Request-Id: a b\r\n\r\n")
	if strings.Count(strings.ToLower(f.upstream.header), "x-request-id") != 1 || strings.Contains(f.upstream.header, "a b") {
		t.Errorf("the header was %q", f.upstream.header)
	}
}

func TestRequestsThatAreNotAdmitted(t *testing.T) {
	const host, key = "Host: e\r\n", "X-API-Key: allowed\r\n"
	refused := func(raw string, status int, code string) {
		t.Helper()
		f := start(t)
		response, problem := f.send(raw)
		if response.StatusCode != status || problem["code"] != code || problem["request_id"] == "" {
			t.Errorf("%q: got %d %v", raw, response.StatusCode, problem)
		}
		if _, err := f.reader.ReadByte(); err != io.EOF {
			t.Errorf("%q: the connection is still open: %v", raw, err)
		}
		if f.upstream.calls != 0 || f.auth.asked != 0 {
			t.Errorf("%q: asked %d times, forwarded %d times", raw, f.auth.asked, f.upstream.calls)
		}
	}
	refused("GET / HTTP/1.1\r\n"+key+"\r\n", 400, "bad_request")
	refused("GET / HTTP/1.1\r\n"+host+host+key+"\r\n", 400, "bad_request")
	refused("POST / HTTP/1.1\r\n"+host+key+"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_request")
	refused("POST / HTTP/1.1\r\n"+host+key+"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400, "bad_request")
	refused("POST / HTTP/1.1\r\n"+host+key+"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, "bad_request")
	refused("GET / HTTP/1.1\r\n"+host+key+"X-A: b\r\n c\r\n\r\n", 400, "bad_request")
	refused("GET / HTTP/1.1\r\n"+host+key+"X-A : b\r\n\r\n", 400, "bad_request")
	refused("GET / HTTP/1.1\r\n"+host+key+"X A: b\r\n\r\n", 400, "bad_request")
	refused("GET / HTTP/1.1\r\n"+host+"X-A: b\n"+key+"\r\n", 400, "bad_request")
	refused("GET http://u:p@e/ HTTP/1.1\r\n"+host+key+"\r\n", 400, "bad_request")
	refused("CONNECT e:80 HTTP/1.1\r\n"+host+key+"\r\n", 405, "method_not_allowed")
	refused("TRACE / HTTP/1.1\r\n"+host+key+"\r\n", 405, "method_not_allowed")
	refused("PRI * HTTP/2.0\r\n\r\n", 400, "bad_request")
	refused("hello\r\n\r\n", 400, "bad_request")
	refused("POST / HTTP/1.1\r\n"+host+key+"Content-Length: 1001\r\n\r\n"+strings.Repeat("x", 1001), 413, "body_too_large")
	refused("GET / HTTP/1.1\r\n"+host+key+strings.Repeat("X-A: b\r\n", 200)+"\r\n", 431, "headers_too_large")
	refused("GET / HTTP/1.1\r\n"+host+key+"X-A: "+strings.Repeat("b", 70000)+"\r\n\r\n", 431, "headers_too_large")
}

func TestCredentialsAreCountedBeforeTheyAreLookedUp(t *testing.T) {
	f := start(t)
	for raw, code := range map[string]string{
		"GET / HTTP/1.1\r\nHost: e\r\n\r\n":                                                     "missing_api_key",
		"GET / HTTP/1.1\r\nHost: e\r\nAuthorization: Basic eA==\r\n\r\n":                        "missing_api_key",
		"GET /?api_key=allowed HTTP/1.1\r\nHost: e\r\n\r\n":                                     "missing_api_key",
		"GET / HTTP/1.1\r\nHost: e\r\nX-API-Key: a\r\nAuthorization: Bearer a\r\n\r\n":          "ambiguous_credentials",
		"GET / HTTP/1.1\r\nHost: e\r\nX-API-Key: allowed\r\nX-API-Key: allowed\r\n\r\n":         "ambiguous_credentials",
		"POST / HTTP/1.1\r\nHost: e\r\nX-API-Key: revoked\r\nContent-Length: 3\r\n\r\nabc":      "invalid_api_key",
		"POST / HTTP/1.1\r\nHost: e\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n": "missing_api_key",
	} {
		if response, problem := f.send(raw); problem["code"] != code {
			t.Errorf("%q: got %d %v", raw, response.StatusCode, problem)
		}
	}
	if response, _ := f.send(get("allowed")); response.StatusCode != 200 || f.upstream.calls != 1 {
		t.Errorf("afterwards, on the same connection: %d", response.StatusCode)
	}
}

func TestPublicRequestsNeedNoKeyAndSayNothingOfAnybody(t *testing.T) {
	f := start(t, func(c *server.Config) { c.Public, c.PublicPreflight = []string{"/docs"}, true })
	check := func(raw string, status int) {
		t.Helper()
		f.upstream.header = ""
		response, problem := f.send(raw)
		if response.StatusCode != status || strings.Contains(f.upstream.header, "X-Org-Id") || strings.Contains(f.upstream.header, "secret") {
			t.Errorf("%q: got %d %v, forwarded %q", raw, response.StatusCode, problem, f.upstream.header)
		}
	}
	check("GET /docs HTTP/1.1\r\nHost: e\r\n\r\n", 200)
	check("GET /docs/a?b HTTP/1.1\r\nHost: e\r\nX-Org-Id: evil\r\nX-API-Key: secret\r\n\r\n", 200)
	check("GET /docs/../admin HTTP/1.1\r\nHost: e\r\n\r\n", 401)
	check("GET /docs/%2e%2e/admin HTTP/1.1\r\nHost: e\r\n\r\n", 401)
	check("GET //docs HTTP/1.1\r\nHost: e\r\n\r\n", 401)
	check("GET /docs//x HTTP/1.1\r\nHost: e\r\n\r\n", 401)
	check("GET /DOCS HTTP/1.1\r\nHost: e\r\n\r\n", 401)
	check("OPTIONS /x HTTP/1.1\r\nHost: e\r\nAccess-Control-Request-Method: POST\r\n\r\n", 200)
	check("OPTIONS /x HTTP/1.1\r\nHost: e\r\n\r\n", 401)
	if f.auth.asked != 0 {
		t.Errorf("asked %d times", f.auth.asked)
	}
}

func TestWhatGoesWrongUpstreamIsTold(t *testing.T) {
	for err, want := range map[error]string{
		forward.ErrUnreachable: "502 upstream_unreachable", forward.ErrBadResponse: "502 upstream_unreachable",
		forward.ErrTimeout: "504 upstream_timeout", forward.ErrBusy: "503 unavailable",
		forward.ErrBodyTooLarge: "413 body_too_large", forward.ErrClientBody: "400 bad_request",
		forward.ErrClientTimeout: "408 request_timeout", io.ErrNoProgress: "502 upstream_unreachable",
	} {
		f := start(t)
		f.upstream.err = fmt.Errorf("forwarding: %w", err)
		response, problem := f.send(get("allowed"))
		if got := fmt.Sprint(response.StatusCode, " ", problem["code"]); got != want {
			t.Errorf("%v: got %s", err, got)
		}
		unread := err == forward.ErrBodyTooLarge || err == forward.ErrClientBody || err == forward.ErrClientTimeout
		if response.Close != unread {
			t.Errorf("%v: the connection closes: %v", err, response.Close)
		}
	}
}

func TestTimingTellsWhereTheTimeWent(t *testing.T) {
	f := start(t, func(c *server.Config) { c.Timing = true })
	response, _ := f.send(get("allowed"))
	if timing := response.Header.Get("Server-Timing"); !strings.HasPrefix(timing, "auth;dur=") || !strings.Contains(timing, "total;dur=") {
		t.Errorf("Server-Timing is %q", timing)
	}
	if response.Header.Get("X-Process-Time") == "" {
		t.Error("no X-Process-Time")
	}
}
