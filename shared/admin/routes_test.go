package admin_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
)

func TestTheOpenRoutesAnswer(t *testing.T) {
	c := config()
	c.Token = token
	s := start(t, c)
	for path, want := range map[string]string{
		"/healthz": `{"status":"ok"}`, "/readyz": `{"status":"ready","degraded":[]}`,
		"/version": `{"version":"v1.2.3","go":"go1"}`,
	} {
		a := s.do("GET "+path).expect(t, 200, "")
		if string(a.body) != want || a.Header.Get("Content-Type") != "application/json" ||
			a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got %s, %v", path, a.body, a.Header)
		}
	}
	if a := s.do("GET /metrics").expect(t, 200, ""); !strings.Contains(string(a.body), "keygate_proxy_test_total 42") {
		t.Errorf("got %s", a.body)
	}
}

func TestReadinessSaysWhatWorksOnlyInPart(t *testing.T) {
	ok, degraded := true, []string{"redis is out of reach"}
	c := config()
	c.Ready = func() (bool, []string) { return ok, degraded }
	s := start(t, c)
	a := s.do("GET /readyz").expect(t, 200, "")
	if string(a.body) != `{"status":"ready","degraded":["redis is out of reach"]}` {
		t.Errorf("got %s", a.body)
	}
	ok, degraded = false, nil
	if a := s.do("GET /readyz").expect(t, 503, ""); string(a.body) != `{"status":"not ready","degraded":[]}` {
		t.Errorf("got %s", a.body)
	}
	s.do("HEAD /readyz").expect(t, 503, "")
}

func TestHandlersFindTheRestOfTheirPath(t *testing.T) {
	s := start(t, config(), withRoutes)
	for target, want := range map[string]string{
		"GET /v1/cache/keys/zap_live_abc":      "GET zap_live_abc ",
		"DELETE /v1/cache/keys/sk%2Flive%20/x": "DELETE sk/live /x ",
		"GET /v1/cache/keys/a//b/../c?x=1":     "GET a//b/../c ",
		"GET /v1/cache/keys/":                  "GET  ",
	} {
		if a := s.do(target).expect(t, 200, ""); string(a.body) != want {
			t.Errorf("%s: got %q, want %q", target, a.body, want)
		}
	}
	a := s.do("POST /v1/cache/invalidate", "Content-Type: application/json; charset=utf-8", `body: {"all":true}`)
	if a.expect(t, 200, ""); string(a.body) != `POST  {"all":true}` {
		t.Errorf("got %q", a.body)
	}
}

func TestUnknownPathsAndMethodsAreRefused(t *testing.T) {
	s := start(t, config(), withRoutes)
	for _, path := range []string{"/nothing", "/v1/stats/", "/healthz/", "//healthz", "/v1/cache/keys", "/favicon.ico"} {
		s.do("GET "+path).expect(t, 404, "not_found")
	}
	for target, allow := range map[string]string{
		"POST /healthz": "GET", "PUT /v1/cache/keys/a": "DELETE, GET", "GET /v1/cache/invalidate": "POST",
		"DELETE /v1/stats": "GET",
	} {
		if a := s.do(target).expect(t, 405, "method_not_allowed"); a.Header.Get("Allow") != allow {
			t.Errorf("%s: Allow is %q, want %q", target, a.Header.Get("Allow"), allow)
		}
	}
	if a := s.do("HEAD /v1/stats").expect(t, 200, ""); len(a.body) != 0 {
		t.Errorf("HEAD has a body: %s", a.body)
	}
}

func TestStatsAreTheProgramsOwn(t *testing.T) {
	a := start(t, config()).do("GET /v1/stats").expect(t, 200, "")
	if string(a.body) != `{"requests":{"served_total":7}}` {
		t.Errorf("got %s", a.body)
	}
}

func TestProfilesAreServed(t *testing.T) {
	s := start(t, config())
	if a := s.do("GET /debug/pprof").expect(t, 302, ""); !strings.HasSuffix(a.Header.Get("Location"), "/debug/pprof/") {
		t.Errorf("leads to %s", a.Header.Get("Location"))
	}
	if a := s.do("GET /debug/pprof/").expect(t, 200, ""); !strings.Contains(string(a.body), "goroutine") {
		t.Errorf("got %s", a.body)
	}
	for _, path := range []string{
		"heap", "goroutine?debug=1", "profile?seconds=1", "trace?seconds=0.1", "symbol", "cmdline",
	} {
		if a := s.do("GET /debug/pprof/"+path).expect(t, 200, ""); len(a.body) == 0 {
			t.Errorf("%s is empty", path)
		}
	}
	for _, path := range []string{"cmdline", "cmdline/", "./cmdline", "%63mdline", "cmdline?debug=1"} {
		if a := s.do("GET /debug/pprof/" + path); string(a.body) != os.Args[0] {
			t.Errorf("%s shows %q, where arguments may be secrets", path, a.body)
		}
	}
}

func TestAPanicIsAnsweredAndSurvived(t *testing.T) {
	c := config()
	c.Stats = func() any { return map[string]any{"not JSON": func() {}} }
	s := start(t, c)
	s.do("GET /v1/stats").expect(t, 503, "unavailable")
	s.do("GET /healthz").expect(t, 200, "")
	if !strings.Contains(s.log.String(), "admin handler panicked") {
		t.Errorf("the log says nothing: %s", s.log)
	}
}

func TestChangesAreLoggedWithoutThePath(t *testing.T) {
	c := config()
	c.Token = token
	s := start(t, c, withRoutes)
	bearer := "Authorization: Bearer " + token
	s.do("GET /v1/cache/keys/canary", bearer).expect(t, 200, "")
	s.do("DELETE /v1/cache/keys/canary").expect(t, 401, "missing_api_key")
	s.do("DELETE /v1/cache/keys/canary", bearer).expect(t, 200, "")
	log := s.log.String()
	if strings.Count(log, "admin request") != 1 ||
		!strings.Contains(log, "method=DELETE route=/v1/cache/keys/ status=200 remote=127.0.0.1:") {
		t.Errorf("got %s", log)
	}
	if strings.Contains(log, "canary") || strings.Contains(log, token) {
		t.Errorf("the log tells secrets: %s", log)
	}
}

// raw sends bytes as they are and returns the whole answer.
func (s *server) raw(text string) answer {
	s.tb.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		s.tb.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		s.tb.Logf("writing the request: %v", err)
	}
	all, err := io.ReadAll(conn)
	if err != nil && len(all) == 0 {
		s.tb.Fatal(err)
	}
	head, body, _ := strings.Cut(string(all), "\r\n\r\n")
	a := answer{&http.Response{Header: http.Header{}}, []byte(body)}
	a.Request, _ = http.NewRequest("RAW", "/", nil)
	fmt.Sscanf(head, "HTTP/1.1 %d", &a.StatusCode)
	for line := range strings.SplitSeq(head, "\r\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			a.Header.Add(name, value)
		}
	}
	return a
}

func TestWhatIsNoRequestIsRefusedWithoutBeingQuoted(t *testing.T) {
	const canary = "zap_live_canary"
	s := start(t, config(), withRoutes)
	for _, c := range []struct {
		text, code string
		status     int
	}{
		{canary + "\r\n\r\n", "bad_request", 400},
		{"GET /v1/stats HTTP/1.1\r\nHost: localhost\r\nX-API-Key " + canary + "\r\n\r\n", "bad_request", 400},
		{"GET /" + canary + "%zz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "bad_request", 400},
		{"GET / HTTP/1.1\r\nHost: localhost\r\nX-API-Key: " + canary + strings.Repeat("x", 9000) + "\r\n\r\n",
			"headers_too_large", 431},
		{"POST /v1/cache/invalidate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n" + canary,
			"body_too_large", 413},
	} {
		a := s.raw(c.text).expect(t, c.status, c.code)
		if strings.Contains(string(a.body), "canary") || !json.Valid(a.body) {
			t.Errorf("%s: got %s", c.code, a.body)
		}
	}
	s.stop()
	if strings.Contains(s.log.String(), "canary") {
		t.Errorf("the log quotes requests: %s", s.log)
	}
}
