package verify_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"keygate/proxy/identity"
	"keygate/proxy/keys"
	"keygate/proxy/verify"
	"keygate/shared/uuid7"
)

// wantsIdentity checks the three headers, each of which has to be there once.
func (a answer) wantsIdentity(tb testing.TB, org, prefix string) {
	tb.Helper()
	id := a.Header.Get("X-Keygate-Id")
	if !slices.Equal(a.Header["X-Org-Id"], []string{org}) || !slices.Equal(a.Header["X-Org-Key"], []string{prefix}) ||
		!slices.Equal(a.Header["X-Keygate-Id"], []string{id}) {
		tb.Errorf("%d names %v", a.StatusCode, a.Header)
	}
	if _, err := uuid7.Parse([]byte(id)); (err == nil) != (org != "") {
		tb.Errorf("%d gives the id %q", a.StatusCode, id)
	}
	if a.Header["X-Org-Signature"] != nil || a.Header.Get("Cache-Control") != "no-store" {
		tb.Errorf("%d comes with %v", a.StatusCode, a.Header)
	}
}

func (a answer) refuses(tb testing.TB, status int, code string) {
	tb.Helper()
	if a.StatusCode != status || a.problem.Status != status || a.problem.Code != code || a.problem.Detail == "" || a.problem.RequestID == "" {
		tb.Errorf("got %d %s instead of %d %s", a.StatusCode, a.body, status, code)
	}
	if (a.Header.Get("WWW-Authenticate") != "") != (status == 401) || (a.Header.Get("Retry-After") != "") != (status == 503) {
		tb.Errorf("%d comes with %v", status, a.Header)
	}
	a.wantsIdentity(tb, "", "")
}

func TestAGoodKeyIsVouchedForWhateverElseTheRequestIs(t *testing.T) {
	f := start(t)
	key := f.settled()
	w := f.dial()
	ids := map[string]bool{}
	check := func(raw string) {
		t.Helper()
		got := w.send(raw)
		if got.StatusCode != 200 || got.body != "" || got.Close {
			t.Errorf("%q: got %d %q, close %v", raw, got.StatusCode, got.body, got.Close)
		}
		got.wantsIdentity(t, key.OrgID, key.Prefix)
		if id := got.Header.Get("X-Keygate-Id"); ids[id] {
			t.Errorf("the id %s comes twice", id)
		} else {
			ids[id] = true
		}
	}
	line := "X-API-Key: " + key.Key
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "TRACE", "BREW"} {
		check(ask(method, line))
	}
	for _, target := range []string{"/", "/a/../b//c?d=%zz", "/caf\xc3\xa9", "http://elsewhere.example/a"} {
		check("GET " + target + " HTTP/1.1\r\nHost: keygate\r\n" + line + "\r\n\r\n")
	}
	check(get("authorization: bearer " + key.Key))
	check(get(line, "Authorization: Basic dXNlcjpwYXNz"))
	check(get(line, "X-Org-Id: evil", "x_org_id: evil", "X-Org-Key: evil", "X-Keygate-Id: evil", "X-Org-Signature: evil"))
	check(get(line, "Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: eA==", "Sec-WebSocket-Version: 13"))
	check("GET / HTTP/1.0\r\nConnection: keep-alive\r\n" + line + "\r\n\r\n")
	if got := w.send("GET / HTTP/1.0\r\n" + line + "\r\n\r\n"); got.StatusCode != 200 || !w.isClosed() {
		t.Errorf("HTTP/1.0: got %d", got.StatusCode)
	}
}

func TestEachRefusalHasItsStatusAndNamesNobody(t *testing.T) {
	f := start(t)
	good, revoked, suspended, asleep := f.create("acme"), f.create("acme"), f.create("broke"), f.create("acme")
	expired := must[keys.Created](t)(f.keys.Create(t.Context(), keys.Owner{Name: "acme"}, time.Now().Add(-time.Hour)))
	if err := f.keys.Revoke(t.Context(), revoked.Prefix); err != nil {
		t.Fatal(err)
	}
	f.execute("update organizations set enabled = false where id = $1", suspended.OrgID)
	f.settle(good, revoked, suspended, expired)
	w := f.dial()
	check := func(status int, code string, lines ...string) {
		t.Helper()
		got := w.send(get(lines...))
		got.refuses(t, status, code)
		if got.Close {
			t.Errorf("%q closes the connection", lines)
		}
	}
	check(401, "missing_api_key")
	check(401, "missing_api_key", "Authorization: Basic dXNlcjpwYXNz")
	check(401, "missing_api_key", "X_API_Key: "+good.Key)
	check(401, "invalid_api_key", "X-API-Key:")
	check(401, "invalid_api_key", "X-API-Key: nonsense")
	check(401, "invalid_api_key", "X-API-Key: "+good.Key+", "+good.Key)
	check(401, "invalid_api_key", "X-API-Key: "+revoked.Key)
	check(401, "invalid_api_key", "Authorization: Bearer "+expired.Key)
	check(401, "ambiguous_credentials", "X-API-Key: "+good.Key, "Authorization: Bearer "+good.Key)
	check(401, "ambiguous_credentials", "X-API-Key: "+good.Key, "x-api-key: "+good.Key)
	check(401, "ambiguous_credentials", "Authorization: Bearer "+good.Key, "Authorization: Basic dXNlcjpwYXNz")
	check(403, "organization_suspended", "X-API-Key: "+suspended.Key)

	f.source.cut.Store(true)
	check(503, "auth_unavailable", "X-API-Key: "+asleep.Key)
}

func TestNoHeaderMakesARequestPublic(t *testing.T) {
	f := start(t)
	w := f.dial()
	for _, method := range []string{"GET", "OPTIONS"} {
		w.send(ask(method, "X-Forwarded-Uri: /docs", "X-Original-URI: /docs", "X-Forwarded-Method: OPTIONS",
			"Origin: https://site.example", "Access-Control-Request-Method: POST")).refuses(t, 401, "missing_api_key")
	}
}

func TestARevokedKeyIsRefused(t *testing.T) {
	f := start(t)
	key := f.settled()
	w := f.dial()
	w.send(get("X-API-Key: "+key.Key)).wantsIdentity(t, key.OrgID, key.Prefix)
	f.follow()
	if err := f.keys.Revoke(t.Context(), key.Prefix); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; {
		got := w.send(get("X-API-Key: " + key.Key))
		if got.StatusCode == 401 {
			got.refuses(t, 401, "invalid_api_key")
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the key still passes")
		}
	}
}

func TestHeadIsAnsweredLikeGetWithoutTheBody(t *testing.T) {
	f := start(t)
	w := f.dial()
	whole, head := w.send(ask("GET")), w.send(ask("HEAD"))
	if head.StatusCode != 401 || head.body != "" || whole.ContentLength == 0 {
		t.Errorf("got %d %q after %q", head.StatusCode, head.body, whole.body)
	}
	whole.Header.Del("Date")
	head.Header.Del("Date")
	for name := range whole.Header {
		if name != "Content-Length" && !slices.Equal(whole.Header[name], head.Header[name]) {
			t.Errorf("%s is %q instead of %q", name, head.Header[name], whole.Header[name])
		}
	}
	w.send(ask("GET")).refuses(t, 401, "missing_api_key") // HEAD was followed by no byte
}

func TestNoBodyIsWaitedFor(t *testing.T) {
	f := start(t)
	line := "X-API-Key: " + f.settled().Key
	check := func(raw string) {
		t.Helper()
		w := f.dial()
		if got := w.send(raw); got.StatusCode != 200 || !got.Close || !w.isClosed() {
			t.Errorf("%.200q: got %d, close %v", raw, got.StatusCode, got.Close)
		}
	}
	hidden := get(line)
	for _, method := range []string{"GET", "HEAD", "POST"} {
		check(ask(method, line, "Content-Length: 100"))
		check(ask(method, line, "Content-Length: 100", "Expect: 100-continue"))
		check(ask(method, line, "Transfer-Encoding: chunked"))
		check(ask(method, line, "Content-Length: 4") + "body" + hidden)
		check(ask(method, line, "Content-Length: 4") + hidden)
		check(ask(method, line, "Transfer-Encoding: chunked") + "4\r\nbody\r\n0\r\n\r\n" + hidden)
		check(ask(method, line, "Content-Length: 1000000") + strings.Repeat("x", 1_000_000))
	}
	w := f.dial()
	for range 2 {
		for _, raw := range []string{ask("POST", line, "Content-Length: 0"), ask("POST", line, "Expect: 100-continue")} {
			if got := w.send(raw); got.StatusCode != 200 || got.Close {
				t.Errorf("%q: got %d, close %v", raw, got.StatusCode, got.Close)
			}
		}
	}
	w.send(ask("POST", "Content-Length: 100")).refuses(t, 401, "missing_api_key")
	if !w.isClosed() {
		t.Error("after a refused body the connection is still open")
	}
}

func TestWhatCannotBeReadIsNotAuthenticated(t *testing.T) {
	f := start(t)
	line := "X-API-Key: " + f.settled().Key
	refused := func(code, raw string) {
		t.Helper()
		w := f.dial()
		w.send(raw).refuses(t, 401, code)
		if !w.isClosed() {
			t.Errorf("%.200q: the connection is still open", raw)
		}
	}
	refused("bad_request", "GET / HTTP/1.1\r\n"+line+"\r\n\r\n")
	refused("bad_request", get(line, "Host: other"))
	refused("bad_request", get("X-A: b\n"+line))
	refused("bad_request", get(line, "X-A: b\r\n c"))
	refused("bad_request", get(line, "X-A : b"))
	refused("bad_request", get(line, "X\x00: b"))
	refused("bad_request", "GET / HTTP/1.1\nHost: keygate\r\n"+line+"\r\n\r\n")
	refused("bad_request", "PRI * HTTP/2.0\r\n\r\n")
	refused("bad_request", "hello\r\n\r\n")
	refused("bad_request", ask("POST", line, "Content-Length: 3", "Transfer-Encoding: chunked"))
	refused("bad_request", ask("POST", line, "Content-Length: 3", "Content-Length: 3"))
	refused("bad_request", ask("POST", line, "Transfer-Encoding: identity"))
	refused("headers_too_large", get(line, strings.TrimSuffix(strings.Repeat("X-A: b\r\n", 200), "\r\n")))
	refused("headers_too_large", get(line, "X-A: "+strings.Repeat("b", 70_000)))
}

func TestAHeaderThatDoesNotArriveIsNobodysFault(t *testing.T) {
	f := start(t, func(c *verify.Config) { c.HeaderTimeout = 100 * time.Millisecond })
	w := f.dial()
	w.send("GET / HTTP/1.1\r\n").refuses(t, 503, "request_timeout")
	if !w.isClosed() {
		t.Error("the connection is still open")
	}
}

func TestTheCarriersAndTheOrgHeaderAreThoseOfTheEdge(t *testing.T) {
	f := start(t, func(c *verify.Config) {
		c.Policy = identity.New(identity.Policy{OrgHeader: "X-Tenant", Carriers: identity.Bearer})
	})
	key := f.settled()
	w := f.dial()
	got := w.send(get("X-API-Key: " + key.Key))
	if got.problem.Code != "missing_api_key" || !slices.Equal(got.Header["X-Tenant"], []string{""}) {
		t.Errorf("got %d %s %v", got.StatusCode, got.body, got.Header)
	}
	got = w.send(get("Authorization: Bearer "+key.Key, "X-API-Key: another"))
	if got.StatusCode != 200 || got.Header.Get("X-Tenant") != key.OrgID || got.Header["X-Org-Id"] != nil {
		t.Errorf("got %d %s %v", got.StatusCode, got.body, got.Header)
	}
}

func TestTheProblemRepeatsTheRequestId(t *testing.T) {
	f := start(t)
	w := f.dial()
	if got := w.send(get("X-Request-Id: req-1")).problem.RequestID; got != "req-1" {
		t.Errorf("got %q", got)
	}
	if got := w.send(get("X-Request-Id: a b")).problem.RequestID; len(got) != 36 {
		t.Errorf("got %q", got)
	}
}

func TestAQuestionInFlightIsAnsweredAfterTheStop(t *testing.T) {
	slow := &held{began: make(chan struct{}), finish: make(chan struct{})}
	f := start(t, func(c *verify.Config) { slow.Authenticator, c.Auth = c.Auth, slow })
	key := f.create("acme")
	w := f.dial()
	got := make(chan answer)
	go func() {
		defer close(got)
		got <- w.send(get("X-API-Key: " + key.Key))
	}()
	<-slow.began
	stopped := make(chan struct{})
	go func() {
		f.stop()
		close(stopped)
	}()
	select {
	case <-stopped:
		t.Error("the listener has ended before it answered")
	case <-time.After(50 * time.Millisecond):
	}
	close(slow.finish)
	if a, ok := <-got; !ok || !a.Close {
		t.Error("the answer does not come, or does not close the connection")
	}
	<-stopped
}

func TestItListensOnAUnixSocketToo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "verify.sock")
	f := start(t, func(c *verify.Config) { c.Address = "unix:" + path })
	key := f.settled()
	f.dial().send(get("X-API-Key: "+key.Key)).wantsIdentity(t, key.OrgID, key.Prefix)
}

func TestAnswersAreCounted(t *testing.T) {
	f := start(t)
	key := f.settled()
	before := f.counted()
	w := f.dial()
	w.send(get("X-API-Key: " + key.Key))
	w.send(get())
	w.send("hello\r\n\r\n")
	after := f.counted()
	for name, want := range map[string]float64{
		"keygate_proxy_verify_requests_total 2xx": 1, "keygate_proxy_verify_requests_total 4xx": 2, "keygate_proxy_verify_requests_total 5xx": 0,
		"keygate_proxy_verify_problems_total missing_api_key": 1, "keygate_proxy_verify_problems_total bad_request": 1,
	} {
		if got := after[name] - before[name]; got != want {
			t.Errorf("%s has grown by %v instead of %v", name, got, want)
		}
	}
}

// counted are the counters by their name and only label.
func (f *fixture) counted() map[string]float64 {
	f.tb.Helper()
	counts := map[string]float64{}
	for _, family := range must[[]*dto.MetricFamily](f.tb)(f.registry.Gather()) {
		for _, metric := range family.GetMetric() {
			if len(metric.GetLabel()) == 1 {
				counts[family.GetName()+" "+metric.GetLabel()[0].GetValue()] = metric.GetCounter().GetValue()
			}
		}
	}
	return counts
}
