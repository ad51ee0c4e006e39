//go:build long

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keygate/tests/servers"
)

func TestOtherProxiesAskAndForward(t *testing.T) {
	t.Parallel()
	for _, f := range fronts {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			postgres := servers.StartPostgres(t)
			api := frontedBy(t, f, stackOn(t, postgres.Database(t)))
			addr := api.start(t, false)
			key := api.createKeyHeardBy(api.proxy)
			api.becomes(t, addr, key, http.StatusOK)

			t.Run("good keys pass and are replaced by who is calling", func(t *testing.T) { api.passes(t, addr, key) })
			t.Run("bodies arrive as they were sent", func(t *testing.T) { api.carries(t, addr, key) })
			t.Run("nothing that clients claim to be arrives", func(t *testing.T) { api.clears(t, addr, key) })
			t.Run("other keys are refused", func(t *testing.T) { api.refuses(t, addr, key) })
			t.Run("upgrades pass", func(t *testing.T) { api.upgrades(t, addr, key) })
			t.Run("public paths are public, and nothing else", func(t *testing.T) { api.exempts(t, key) })
			t.Run("revocations are heard at once", func(t *testing.T) { api.revokes(t, addr) })
			t.Run("outages are told from bad keys", func(t *testing.T) { api.outlives(t, addr, key, postgres) })
		})
	}
}

func (a *frontedAPI) passes(t *testing.T, addr string, key apiKey) {
	mine := "X-API-Key: " + key.Key
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
		for _, line := range []string{mine, "Authorization: Bearer " + key.Key, "authorization: bearer " + key.Key} {
			got := a.sends(t, addr, key, request(method, "/a/b?c=d&e", "", line))
			if got.line != method+" /a/b?c=d&e HTTP/1.1" || len(got.values("authorization"))+len(got.values("x-api-key")) > 0 {
				t.Errorf("the API sees %q", got)
			}
		}
	}
	got := a.sends(t, addr, key, request("GET", "/", "", mine, "Authorization: Basic dXNlcjpwYXNz", "Accept: */*"))
	if basic := got.values("authorization"); len(basic) != 1 || basic[0] != "Basic dXNlcjpwYXNz" {
		t.Errorf("the API sees Authorization %q", basic)
	}
}

// carries also wants the questions about requests with bodies to share connections.
func (a *frontedAPI) carries(t *testing.T, addr string, key apiKey) {
	mine := "X-API-Key: " + key.Key
	before := a.relay.accepted.Load()
	blob := pattern(300 << 10)
	for range 5 {
		for _, body := range []string{"", "a", blob[:1<<10], blob[:64<<10], blob} {
			if got := a.sends(t, addr, key, request("POST", "/upload", body, mine)); got.body != body {
				t.Errorf("of %d bytes %d arrive, or others", len(body), len(got.body))
			}
			if got := a.sends(t, addr, key, chunked("POST", "/upload", []string{mine}, []string{"a", body + "b"}, nil)); got.body != "a"+body+"b" {
				t.Errorf("of %d bytes in chunks %d arrive, or others", len(body)+2, len(got.body))
			}
		}
	}
	if n := a.relay.accepted.Load() - before; n > 10 {
		t.Errorf("50 requests one after the other took %d connections to keygate", n)
	}
}

func (a *frontedAPI) clears(t *testing.T, addr string, key apiKey) {
	mine := "X-API-Key: " + key.Key
	for _, name := range a.drops {
		a.sends(t, addr, key, request("POST", "/", "{}", name+": evil", mine))
		a.sends(t, addr, key, request("POST", "/", "{}", mine, name+": evil", name+": evil", "Accept: */*"))
	}
	for _, name := range []string{"X-Org-Id", "x-org-key", "X-Keygate-Id", "close, X-Org-Id", "keep-alive, X-Org-Key"} {
		a.sends(t, addr, key, request("POST", "/", "{}", mine, "Connection: "+name))
		a.sends(t, addr, key, request("POST", "/", "{}", mine, "Connection: "+name, "X-Org-Id: evil", "X-Keygate-Id: evil"))
	}
	a.sends(t, addr, key, chunked("POST", "/", []string{mine, "Trailer: X-Org-Id"}, []string{"{}"}, []string{"X-Org-Id: evil"}))
	a.sends(t, addr, key, chunked("POST", "/", []string{mine}, []string{"{}"}, []string{"X-Org-Id: evil", "X-Keygate-Id: evil"}))
}

func (a *frontedAPI) refuses(t *testing.T, addr string, key apiKey) {
	mine := "X-API-Key: " + key.Key
	for code, lines := range map[string][][]string{
		"missing_api_key": {{}, {"X-Org-Id: " + key.OrgID, "X-Org-Key: " + key.Prefix}, {"Authorization: Basic dXNlcjpwYXNz"},
			{"X-Forwarded-Uri: /docs/", "X-Original-URI: /docs/"}, {"Connection: X-API-Key", "X_API_Key: " + key.Key}},
		"invalid_api_key":       {{"X-API-Key: nonsense"}, {"X-API-Key: " + unknownKey}, {"Authorization: Bearer " + guessed(key.Prefix)}},
		"ambiguous_credentials": {{mine, mine}, {mine, "Authorization: Bearer " + key.Key}},
	} {
		for _, set := range lines {
			for _, method := range []string{"GET", "POST"} {
				w := dial(t, addr)
				w.send(request(method, "/", strings.Repeat("x", 100), set...))
				got := w.receive(method)
				if got.status != http.StatusUnauthorized || got.header.Get("WWW-Authenticate") != `Bearer realm="keygate"` {
					t.Errorf("%q is answered %v %v", set, got, got.header)
				}
				if got.header.Get("Content-Type") == "application/problem+json" {
					got.refuses(t, 401, code)
				}
			}
		}
	}
	if all := a.all(); len(all) > 0 {
		t.Errorf("the API sees %q", all)
	}
}

func (a *frontedAPI) upgrades(t *testing.T, addr string, key apiKey) {
	lines := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	w := dial(t, addr)
	w.send(request("GET", "/ws", "", append(lines, "X-API-Key: "+key.Key, "X-Org-Id: evil")...))
	if got := w.receive("GET"); got.status != http.StatusSwitchingProtocols {
		t.Fatalf("an upgrade is answered %v", got)
	}
	if got := a.one(t); len(got.values("x-org-id")) != 1 || got.values("x-org-id")[0] != key.OrgID {
		t.Errorf("the API sees %q", got)
	}
	// To the API's reader here, what comes through the tunnel looks like requests, and it answers with their first line.
	for i := range 3 {
		said := fmt.Sprintf("message %d", i)
		w.send(said + "\r\n\r\n")
		if got := w.receive("GET"); string(got.body) != said {
			t.Errorf("%q comes back as %v", said, got)
		}
	}
	a.all()
	w = dial(t, addr)
	w.send(request("GET", "/ws", "", lines...))
	if got := w.receive("GET"); got.status != http.StatusUnauthorized || len(a.all()) > 0 {
		t.Errorf("an upgrade without a key is answered %v", got)
	}
}

func (a *frontedAPI) exempts(t *testing.T, key apiKey) {
	addr := a.start(t, true)
	const preflight = "Access-Control-Request-Method: POST"
	open := func(method, target string, lines ...string) {
		t.Helper()
		w := dial(t, addr)
		w.send(request(method, target, "", append(lines, "X-Org-Id: evil", "x_org_id: evil", "X-Keygate-Id: evil", "X-API-Key: evil")...))
		if got := w.receive(method); got.status != http.StatusOK {
			t.Errorf("%s %s is answered %v", method, target, got)
		}
		if got := a.one(t); strings.Contains(fmt.Sprintf("%q", got), "evil") || len(got.values("x-org-id")) > 0 {
			t.Errorf("the API sees %q", got)
		}
	}
	open("GET", "/docs/")
	open("POST", "/docs/a?b")
	open("OPTIONS", "/", "Origin: https://site.example", preflight)
	closed := func(method, target string, lines ...string) {
		t.Helper()
		w := dial(t, addr)
		w.send(request(method, target, "", lines...))
		if got := w.receive(method); got.status != http.StatusUnauthorized || len(a.all()) > 0 {
			t.Errorf("%s %s is answered %v", method, target, got)
		}
	}
	for _, target := range []string{"/", "/docsx", "/docs/../private", "/docs/%2e%2e/private", "/docs/..%2fprivate", "/private/docs/"} {
		closed("GET", target)
	}
	closed("GET", "/", "X-Forwarded-Uri: /docs/", "X-Original-URI: /docs/", preflight, "X-HTTP-Method-Override: OPTIONS", "X-Forwarded-Method: OPTIONS")
	closed("OPTIONS", "/")
	a.sends(t, addr, key, request("GET", "/", "", "X-API-Key: "+key.Key))
	a.sends(t, addr, key, request("OPTIONS", "/", "", "X-API-Key: "+key.Key))
}

func (a *frontedAPI) revokes(t *testing.T, addr string) {
	revoked, suspended := a.createKey("acme"), a.createKey("broke")
	for _, key := range []apiKey{revoked, suspended} {
		a.becomes(t, addr, key, http.StatusOK)
	}
	run(t, a.keys("revoke", revoked.Prefix))
	a.becomes(t, addr, revoked, http.StatusUnauthorized)
	execute(t, a.db, "update organizations set enabled = false where id = $1", suspended.OrgID)
	a.becomes(t, addr, suspended, http.StatusForbidden)
}

func (a *frontedAPI) outlives(t *testing.T, addr string, known apiKey, postgres *servers.PostgresServer) {
	fresh := a.createKeyHeardBy(a.proxy)
	a.becomes(t, addr, known, http.StatusOK)
	postgres.Stop()
	a.redis.Stop()
	a.sends(t, addr, known, request("GET", "/", "", "X-API-Key: "+known.Key))
	unavailable := func(status int) {
		t.Helper()
		got := a.web.get("http://"+addr+"/", "X-API-Key", fresh.Key)
		if got.status != status || status == http.StatusServiceUnavailable && got.header.Get("Retry-After") == "" {
			t.Errorf("without an answer a key is answered %v %v", got, got.header)
		}
		if all := a.all(); len(all) > 0 {
			t.Errorf("the API sees %q", all)
		}
	}
	unavailable(http.StatusServiceUnavailable)
	if got := a.web.get("http://"+addr+"/", "X-API-Key", guessed(known.Prefix)); got.status != http.StatusUnauthorized {
		t.Errorf("a wrong key is answered %v", got)
	}
	a.proxy.kill()
	unavailable(a.absent)
	for _, p := range a.started {
		if strings.Contains(p.output(), fresh.Key) || strings.Contains(p.output(), known.Key) {
			t.Error("a key is in the log")
		}
	}
}

// Neither Traefik nor Envoy comes with Debian. What can be said of their files here is that they can be read, either way.
func TestTheExamplesInYAMLCanBeRead(t *testing.T) {
	t.Parallel()
	for _, shipped := range []string{"traefik/keygate.yaml", "envoy/envoy.yaml"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "examples", shipped))
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for i, variant := range []string{string(text), strings.ReplaceAll(string(text), "#public: ", "")} {
			path := filepath.Join(dir, fmt.Sprint(i))
			if err := os.WriteFile(path, []byte(variant), 0o600); err != nil {
				t.Fatal(err)
			}
			run(t, launch{program: python(t), args: []string{"-c", "import sys, yaml; yaml.safe_load(open(sys.argv[1]))", path}})
		}
	}
}
