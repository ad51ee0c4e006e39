package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestChunkedBodiesReachTheAPI(t *testing.T) {
	t.Parallel()
	api := newExistingAPI(t)
	proxy := api.plainProxy()
	w := dial(t, proxy.addr)
	blob := pattern(300 << 10)
	for _, pieces := range [][]string{nil, {"a"}, {blob[:1000], blob[1000:1024]}, {blob[:100<<10], blob[100<<10:]}} {
		w.send(chunked("POST", "/upload", []string{"X-API-Key: " + api.keys[1]}, pieces, nil))
		if got := w.receive("POST"); got.status != http.StatusOK {
			t.Fatalf("a body in %d chunks is answered %v", len(pieces), got)
		}
		api.forwarded(t, 1, "POST", "/upload", strings.Join(pieces, ""))
	}
}

func TestWhateverClientsClaimToBeTheAPISeesTheTruth(t *testing.T) {
	t.Parallel()
	api := newExistingAPI(t)
	proxy := api.plainProxy()
	key := "X-API-Key: " + api.keys[2]
	f := func(text string) {
		t.Helper()
		w := dial(t, proxy.addr)
		w.send(text)
		if got := w.receive("POST"); got.status != http.StatusOK {
			t.Fatalf("%q is answered %v", text, got)
		}
		got := api.one(t)
		api.vouched(t, got, 2)
		if strings.Contains(fmt.Sprintf("%q", got), "evil") {
			t.Errorf("%q: the API sees %q", text, got)
		}
	}
	for _, name := range []string{"X-Org-Id", "x-org-id", "X_Org_Id", "X-Org_Id", "X.Org.Id", "X-ORG-ID", "X-Org-Key", "X_ORG_KEY",
		"X-Org-Signature", "X-Org-Role", "X-Keygate-Id", "X_Keygate_Id", "X-Keygate-Anything", "X_API_Key", "x.api.key"} {
		f(request("POST", "/", "{}", name+": evil", key))
		f(request("POST", "/", "{}", key, name+": evil", name+":\tevil", "Accept: */*"))
	}
	for _, name := range []string{"X-Org-Id", "x-org-key", "X-Keygate-Id", "X-API-Key", "close, X-Org-Id", "Host, X-Org-Id"} {
		f(request("POST", "/", "{}", key, "Connection: "+name))
		f(request("POST", "/", "{}", key, "Connection: X-Evil", "Connection: "+name, "X-Org-Id: evil", "X-Evil: evil"))
	}
	f(chunked("POST", "/", []string{key, "Trailer: X-Org-Id"}, []string{"{}"}, []string{"X-Org-Id: evil"}))
	f(chunked("POST", "/", []string{key}, []string{"{}"}, []string{"X_Org_Id: evil", "X-Keygate-Id: evil"}))
	f(request("POST", "/", "{}", key, "TE: trailers", "Keep-Alive: evil", "Proxy-Authorization: evil", "Proxy-Connection: evil"))
}

func TestAnswersOfTheAPIComeBackAsTheyWereSent(t *testing.T) {
	t.Parallel()
	blob := pattern(300 << 10)
	answers := map[string]string{
		"/created":   response("201 Made It", `{"a":1}`, "Content-Type: application/json", "Location: /x", "Set-Cookie: a=1", "Set-Cookie: b=2"),
		"/nothing":   "HTTP/1.1 204 No Content\r\nX-Note: empty\r\n\r\n",
		"/same":      "HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\n\r\n",
		"/gone":      response("410 Gone", "gone", "Content-Type: text/plain"),
		"/broken":    response("500 Internal Server Error", "<h1>oops</h1>", "Content-Type: text/html"),
		"/moved":     response("302 Found", "", "Location: https://other.example/?a=b"),
		"/large":     response("200 OK", blob, "Content-Type: application/octet-stream"),
		"/early":     "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + response("200 OK", "late"),
		"/in-chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n",
	}
	api := existingAPIBehind(t, startUpstream(t, func(s seen) string { return answers[strings.Fields(s.line)[1]] }))
	proxy := api.plainProxy()
	web := newClient(t)
	f := func(path string, status int, body string, header ...string) {
		t.Helper()
		got := web.get(proxy.url+path, "X-API-Key", api.keys[0])
		if got.status != status || string(got.body) != body {
			t.Errorf("%s comes back as %d with %d bytes", path, got.status, len(got.body))
		}
		for i := 0; i < len(header); i += 2 {
			if values := strings.Join(got.header.Values(header[i]), " | "); values != header[i+1] {
				t.Errorf("%s comes back with %s: %q instead of %q", path, header[i], values, header[i+1])
			}
		}
	}
	f("/created", 201, `{"a":1}`, "Content-Type", "application/json", "Location", "/x", "Set-Cookie", "a=1 | b=2", "Server", "")
	f("/nothing", 204, "", "X-Note", "empty")
	f("/same", 304, "", "Etag", `"x"`)
	f("/gone", 410, "gone", "Content-Type", "text/plain")
	f("/broken", 500, "<h1>oops</h1>", "Content-Type", "text/html")
	f("/moved", 302, "", "Location", "https://other.example/?a=b")
	f("/large", 200, blob, "Content-Type", "application/octet-stream")
	f("/early", 200, "late")
	f("/in-chunks", 200, "abcdef")
}

func TestRoutesPublicPathsAndPreflights(t *testing.T) {
	t.Parallel()
	api := newExistingAPI(t)
	events, batches := startUpstream(t, nil), startUpstream(t, nil)
	proxy := api.plainProxy("--route", "/v1/events="+events.url, "--route", "/v1/events/batch="+batches.url,
		"--public-path", "/healthz", "--public-path", "/docs", "--public-preflight")
	web := newClient(t)
	for path, to := range map[string]*upstream{"/": api.upstream, "/v1/event": api.upstream, "/v1/events": events,
		"/v1/events?x=/v1/events/batch": events, "/v1/events/batch": batches, "/v1/events/batch/7": batches} {
		if got := web.get(proxy.url+path, "X-API-Key", api.keys[3]); got.status != http.StatusOK {
			t.Errorf("%s is answered %v", path, got)
		}
		if got := to.one(t); got.line != "GET "+path+" HTTP/1.1" || !slices.Equal(got.values("x-org-id"), api.orgs[3:4]) {
			t.Errorf("%s arrives as %q", path, got)
		}
	}
	open := func(method, target string, lines ...string) {
		t.Helper()
		w := dial(t, proxy.addr)
		w.send(request(method, target, "", append(lines, "X-Org-Id: evil", "X_Keygate_Id: evil")...))
		if got := w.receive(method); got.status != http.StatusOK {
			t.Errorf("%s %s without a key is answered %v", method, target, got)
			return
		}
		if got := api.one(t); strings.Contains(fmt.Sprint(got), "evil") || len(got.values("x-org-id")) != 0 {
			t.Errorf("%s %s arrives as %q", method, target, got)
		}
	}
	shut := func(method, target string, lines ...string) {
		t.Helper()
		w := dial(t, proxy.addr)
		w.send(request(method, target, "", lines...))
		w.receive(method).refuses(t, 401, "missing_api_key")
	}
	open("GET", "/healthz")
	open("GET", "/docs?theme=dark")
	open("POST", "/docs/search")
	open("OPTIONS", "/orders", "Origin: https://app.example", "Access-Control-Request-Method: POST")
	shut("GET", "/docs/../orders")
	shut("GET", "/docs%2F..%2Forders")
	shut("GET", "/docs//orders")
	shut("GET", "/orders/docs")
	shut("GET", "/orders?path=/docs")
	shut("OPTIONS", "/orders", "Origin: https://app.example")
	shut("POST", "/orders", "Access-Control-Request-Method: POST")
	for _, up := range []*upstream{api.upstream, events, batches} {
		if seen := up.all(); len(seen) != 0 {
			t.Errorf("more has arrived: %q", seen)
		}
	}
}

func TestCredentialsAreLookedForWhereTheFlagSays(t *testing.T) {
	t.Parallel()
	api := newExistingAPI(t)
	key := api.keys[4]
	both, bearer, apiKey := api.plainProxy(), api.plainProxy("--credential", "bearer"), api.plainProxy("--credential", "x-api-key")
	keeping := api.plainProxy("--keep-credential")
	ask := func(proxy *service, lines []string) answer {
		t.Helper()
		w := dial(t, proxy.addr)
		w.send(request("GET", "/", "", lines...))
		return w.receive("GET")
	}
	through := func(proxy *service, lines []string, kept ...string) {
		t.Helper()
		if got := ask(proxy, lines); got.status != http.StatusOK {
			t.Fatalf("%q is answered %v", lines, got)
		}
		got := api.one(t)
		arrived := slices.DeleteFunc(slices.Clone(got.headers), func(line string) bool {
			name, _, _ := strings.Cut(line, ":")
			return fold(name) != "authorization" && fold(name) != "x-api-key"
		})
		if !slices.Equal(arrived, kept) || !slices.Equal(got.values("x-org-id"), api.orgs[4:5]) {
			t.Errorf("%q arrives as %q with the credentials %q instead of %q", lines, got, arrived, kept)
		}
	}
	refused := func(proxy *service, status int, code string, lines ...string) {
		t.Helper()
		ask(proxy, lines).refuses(t, status, code)
	}
	viaBearer, viaAPIKey, basic := "Authorization: Bearer "+key, "X-API-Key: "+key, "Authorization: Basic dXNlcjpwYXNz"
	through(both, []string{viaBearer})
	through(both, []string{"authorization: bearer " + key})
	through(both, []string{viaAPIKey})
	through(both, []string{viaAPIKey, basic}, basic)
	refused(both, 400, "ambiguous_credentials", viaBearer, viaAPIKey)
	refused(both, 400, "ambiguous_credentials", viaAPIKey, viaAPIKey)
	refused(both, 401, "missing_api_key", basic)

	through(bearer, []string{viaBearer})
	through(bearer, []string{viaBearer, "X-API-Key: for the API"}, "X-API-Key: for the API")
	refused(bearer, 401, "missing_api_key", viaAPIKey)

	through(apiKey, []string{viaAPIKey})
	through(apiKey, []string{viaAPIKey, "Authorization: Bearer for the API"}, "Authorization: Bearer for the API")
	refused(apiKey, 401, "missing_api_key", viaBearer)

	through(keeping, []string{viaAPIKey}, viaAPIKey)
	through(keeping, []string{viaBearer}, viaBearer)
}

func TestTheOrganizationHeaderMayHaveAnotherName(t *testing.T) {
	t.Parallel()
	api := newExistingAPI(t)
	proxy := api.plainProxy("--org-header", "Tenant")
	w := dial(t, proxy.addr)
	w.send(request("GET", "/", "", "X-API-Key: "+api.keys[0], "Tenant: evil", "TENANT: evil", "X-Org-Id: evil"))
	w.receive("GET")
	got := api.one(t)
	if !slices.Equal(got.values("tenant"), api.orgs[:1]) || len(got.values("x-org-id")) != 0 {
		t.Errorf("the API sees %q", got)
	}
}
