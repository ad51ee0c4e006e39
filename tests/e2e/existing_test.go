package e2e

import (
	"crypto/sha256"
	_ "embed"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"keygate/shared/uuid7"
	"keygate/tests/servers"
)

//go:embed testdata/existing/schema.sql
var existingSchema string

// How the existing API's keys are found.
const (
	foreignPrefix = 17
	keyQuery      = "select id as org_id, api_key_hash as key_hash, active as enabled from organizations where api_key_prefix = $1"
)

// existingAPI is an API that has its own table of keys, and no table of keygate's.
type existingAPI struct {
	*stack
	*upstream
	keys, orgs []string
}

// newExistingAPI answers every request with 200 and "ok".
func newExistingAPI(tb testing.TB) *existingAPI {
	tb.Helper()
	return existingAPIBehind(tb, startUpstream(tb, nil))
}

func existingAPIBehind(tb testing.TB, behind *upstream) *existingAPI {
	tb.Helper()
	url := servers.Postgres(tb).Database(tb)
	api := &existingAPI{stack: &stack{tb: tb, url: url, redis: servers.StartRedis(tb), db: open(tb, url)}, upstream: behind}
	execute(tb, api.db, existingSchema)
	for i := range 5 {
		key := fmt.Sprintf("zap_test_%08d_%s%08d", i, strings.Repeat("s", 24), i)
		org := fmt.Sprintf("5c4f0bd2-93d3-4a44-8f1e-%012d", i)
		hash := sha256.Sum256([]byte(key))
		execute(tb, api.db, "insert into organizations (id, name, api_key_prefix, api_key_hash) values ($1, $2, $3, $4)",
			org, fmt.Sprintf("org%d", i), key[:foreignPrefix], hash[:])
		api.keys, api.orgs = append(api.keys, key), append(api.orgs, org)
	}
	return api
}

// proxy starts one with Redis.
func (a *existingAPI) proxy(args ...string) *service {
	a.tb.Helper()
	return a.plainProxy(append(args, "--redis-url", a.redis.URL())...)
}

// plainProxy starts one with nothing but flags.
func (a *existingAPI) plainProxy(args ...string) *service {
	a.tb.Helper()
	return serve(a.tb, proxyProgram, nil, append([]string{"--database-url", a.stack.url, "--key-query", keyQuery,
		"--key-prefix-length", fmt.Sprint(foreignPrefix), "--upstream", a.upstream.url}, args...)...).ready()
}

// setActive changes a key behind everybody's back.
func (a *existingAPI) setActive(tb testing.TB, i int, active bool) {
	tb.Helper()
	execute(tb, a.db, "update organizations set active = $1 where id = $2", active, a.orgs[i])
}

// wants sends one request with key i, which has to be let through or not.
func (a *existingAPI) wants(tb testing.TB, proxy *service, i int, through bool) {
	tb.Helper()
	got := proxy.web.get(proxy.url+"/", "X-API-Key", a.keys[i])
	if !through {
		got.refuses(tb, 401, "invalid_api_key")
	} else if got.status != http.StatusOK {
		tb.Errorf("a good key is answered %v", got)
	}
}

// injected are the headers that are the proxy's to set.
var injected = []string{"x-org-id", "x-org-key", "x-keygate-id", "x-request-id",
	"x-real-ip", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}

// forwarded checks what the API has seen of a request by key i: the same bytes, with the identity in place of the key.
// Lines are those of the client's headers that belong to the API.
func (a *existingAPI) forwarded(tb testing.TB, i int, method, target, body string, lines ...string) seen {
	tb.Helper()
	got := a.one(tb)
	if want := method + " " + target + " HTTP/1.1"; got.line != want {
		tb.Errorf("the API sees %q instead of %q", got.line, want)
	}
	if got.body != body {
		tb.Errorf("%s: the API sees a body of %d bytes that is not the client's of %d", got.line, len(got.body), len(body))
	}
	kept := slices.DeleteFunc(slices.Clone(got.headers), func(line string) bool {
		name, _, _ := strings.Cut(line, ":")
		return slices.Contains(append(injected, "content-length", "transfer-encoding"), fold(name))
	})
	if want := append([]string{"Host: api.example.com"}, lines...); !slices.Equal(kept, want) {
		tb.Errorf("%s: the API sees the headers\n%q\ninstead of\n%q", got.line, kept, want)
	}
	a.vouched(tb, got, i)
	return got
}

// vouched checks the identity of a request by key i.
func (a *existingAPI) vouched(tb testing.TB, got seen, i int) {
	tb.Helper()
	for name, want := range map[string]string{"x-org-id": a.orgs[i], "x-org-key": a.keys[i][:foreignPrefix]} {
		if values := got.values(name); !slices.Equal(values, []string{want}) {
			tb.Errorf("%s: the API sees %s as %q instead of %s alone", got.line, name, values, want)
		}
	}
	if ids := got.values("x-keygate-id"); len(ids) != 1 || !isID(ids[0]) {
		tb.Errorf("%s: the API sees the ids %q", got.line, ids)
	}
	for _, name := range []string{"x-api-key", "x-org-signature", "connection", "trailer"} {
		if values := got.values(name); len(values) != 0 {
			tb.Errorf("%s: the API sees %s as %q", got.line, name, values)
		}
	}
	if ids := got.values("x-request-id"); len(ids) != 1 || ids[0] == "" {
		tb.Errorf("%s: the API sees the request ids %q", got.line, ids)
	}
	if len(got.trailers) != 0 {
		tb.Errorf("%s: the API sees the trailers %q", got.line, got.trailers)
	}
}

func isID(text string) bool {
	_, err := uuid7.Parse([]byte(text))
	return err == nil
}

func TestAnExistingAPINeedsNothingButFlags(t *testing.T) {
	t.Parallel()
	api := newExistingAPI(t)
	const objects = `select relname::text from pg_class where relnamespace >= 16384 or relnamespace = 'public'::regnamespace
		union all select proname::text from pg_proc where pronamespace >= 16384 or pronamespace = 'public'::regnamespace
		union all select nspname::text from pg_namespace where oid >= 16384
		union all select tgname::text from pg_trigger where not tgisinternal order by 1`
	before := column(t, api.db, objects)
	proxy := api.plainProxy()
	for i := range api.keys {
		api.wants(t, proxy, i, true)
		api.vouched(t, api.one(t), i)
	}
	web := newClient(t)
	for _, wrong := range []string{api.keys[0] + "0", api.keys[0][:40], "zap_test_99999999" + strings.Repeat("s", 24), "short"} {
		web.get(proxy.url, "X-API-Key", wrong).refuses(t, 401, "invalid_api_key")
	}
	web.get(proxy.url).refuses(t, 401, "missing_api_key")
	if seen := api.all(); len(seen) != 0 {
		t.Errorf("the API has seen requests without a good key: %q", seen)
	}
	proxy.stop(syscall.SIGTERM)
	if after := column(t, api.db, objects); !slices.Equal(before, after) {
		t.Errorf("the database had %q, and now has %q", before, after)
	}
}

func TestRequestsReachTheAPIAsTheyWereSent(t *testing.T) {
	t.Parallel()
	api := newExistingAPI(t)
	proxy := api.plainProxy()
	key := "X-API-Key: " + api.keys[0]
	w := dial(t, proxy.addr)
	f := func(method, target, body string, lines ...string) {
		t.Helper()
		w.send(request(method, target, body, append(lines, key)...))
		if got := w.receive(method); got.status != http.StatusOK {
			t.Fatalf("%s %s is answered %v", method, target, got)
		}
		got := api.forwarded(t, 0, method, target, body, lines...)
		if sizes := got.values("content-length"); (body != "" || method == "POST") && !slices.Equal(sizes, []string{fmt.Sprint(len(body))}) {
			t.Errorf("%s: of a body of %d bytes the API sees the length as %q", got.line, len(body), sizes)
		}
	}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH", "BREW"} {
		f(method, "/", "")
	}
	for _, target := range []string{"/a/b?x=1&x=2&y", "/a%2Fb/%e4%BD%a0?q=a+b%20c&&=", "/a//b/./c/../d", "/;p=1,2?a?b=/c",
		"/?", "/" + strings.Repeat("long/", 1000), `/"<>\^{|}` + "`", "/%zz?%", "/a:b@c?http://other.example/"} {
		f("GET", target, "")
	}
	blob := pattern(300 << 10)
	for _, size := range []int{0, 1, 1 << 10, 8 << 10, 64 << 10, 64<<10 + 1, 300 << 10} {
		f("POST", "/upload", blob[:size])
	}
	f("GET", "/search", `{"query":1}`)
	f("DELETE", "/items", blob[:100])
	f("POST", "/", "a=b", "Accept: */*", "accept-LANGUAGE:de", "X-Empty:", "Cookie: a=b", "Cookie: c=d",
		"Content-Type: application/x-www-form-urlencoded", "User-Agent: tests\t1", "X-Bytes: \xc3\xa4\xff", "If-None-Match: \"x\"",
		"X-Organization: 1", "XOrg-Id: 1")
	f("GET", "/", "", "Authorization: Basic dXNlcjpwYXNz")
}

// pattern is bytes of every value in an order that shows whatever is lost, doubled or moved.
func pattern(size int) string {
	text := make([]byte, size)
	state := uint32(1)
	for i := range text {
		state = state*1664525 + 1013904223
		text[i] = byte(state >> 24)
	}
	return string(text)
}
