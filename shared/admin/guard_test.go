package admin_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// closed are requests that want the guard's consent, as they are when it is given.
var closed = [][]string{
	{"GET /v1/stats"}, {"GET /"}, {"GET /debug/pprof/"}, {"GET /v1/cache/keys/a"}, {"DELETE /v1/cache/keys/a"},
	{"POST /v1/cache/invalidate", "Content-Type: application/json", "body: {}"},
}

func TestATokenIsWantedOnceThereIsOne(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "0.0.0.0:0", "unix:" + filepath.Join(t.TempDir(), "a")} {
		c := config()
		c.Token, c.Listen = token, listen
		s := start(t, c, withRoutes)
		for _, request := range closed {
			s.do(request[0], request[1:]...).expect(t, 401, "missing_api_key")
			for _, wrong := range []string{
				"Authorization: Bearer", "Authorization: Bearer an admin token of the test", "Authorization: Bearer " + token + "x",
				"Authorization: Basic " + token, "Authorization: " + token,
			} {
				a := s.do(request[0], append(request[1:], wrong)...).expect(t, 401, "invalid_api_key")
				if a.Header.Get("WWW-Authenticate") == "" {
					t.Error("401 without WWW-Authenticate")
				}
			}
			twice := append(request[1:], "Authorization: Bearer "+token, "Authorization: Bearer "+token)
			s.do(request[0], twice...).expect(t, 401, "invalid_api_key")
			s.do(request[0], append(request[1:], "Authorization: bearer "+token, "Host: admin.example")...).expect(t, 200, "")
		}
		s.do("GET /readyz").expect(t, 200, "")
	}
}

func TestWithoutATokenTheRestDoesNotExistBeyondThisMachine(t *testing.T) {
	c := config()
	c.Listen = "0.0.0.0:0"
	s := start(t, c, withRoutes)
	for _, request := range closed {
		a := s.do(request[0], request[1:]...).expect(t, 404, "not_found")
		if !strings.Contains(string(a.body), "ADMIN_TOKEN") {
			t.Errorf("%s does not say how to enable it: %s", request[0], a.body)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/version"} {
		s.do("GET "+path).expect(t, 200, "")
	}
}

func TestWithoutATokenBrowsersAreKeptOut(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "admin.sock")
	for _, listen := range []string{"127.0.0.1:0", "unix:" + socket} {
		c := config()
		c.Listen = listen
		s := start(t, c, withRoutes)
		for _, request := range closed {
			for _, fine := range []string{
				"Host: localhost", "Host: LOCALHOST:9080", "Host: 127.0.0.1:9080", "Host: 127.8.8.8",
				"Host: [::1]:9080", "Host: [::1]", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none",
			} {
				s.do(request[0], append(request[1:], fine)...).expect(t, 200, "")
			}
			for _, foreign := range []string{
				"Origin: https://evil.example", "Origin: null", "Origin: http://localhost:9080",
				"Host: evil.example", "Host: evil.example:9080", "Host: 127.0.0.1.evil.example", "Host: 192.0.2.1:9080",
				"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site",
			} {
				s.do(request[0], append(request[1:], foreign)...).expect(t, 403, "untrusted_caller")
			}
		}
		for _, kind := range []string{
			"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "",
		} {
			headers := []string{"body: {}"}
			if kind != "" {
				headers = append(headers, "Content-Type: "+kind)
			}
			s.do("POST /v1/cache/invalidate", headers...).expect(t, 403, "untrusted_caller")
		}
		link := []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}
		s.do("GET /", link...).expect(t, 200, "")
		frame := []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}
		s.do("GET /", frame...).expect(t, 403, "untrusted_caller")
		s.do("GET /healthz", "Host: probe.example", "Origin: null").expect(t, 200, "")
	}
	if _, err := os.Stat(socket); err != nil {
		t.Errorf("the socket is gone while it is listened on: %v", err)
	}
}
