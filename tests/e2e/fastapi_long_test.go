//go:build long

package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"keygate/tests/servers"
)

// python finds an interpreter that can run the API and read YAML. Debian's packages are for its own, which another may hide.
func python(tb testing.TB) string {
	tb.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		path, err := exec.LookPath(name)
		if err == nil && exec.Command(path, "-c", "import fastapi, uvicorn, asyncpg, yaml").Run() == nil {
			return path
		}
	}
	tb.Fatal("no python3 here has FastAPI, uvicorn, asyncpg and PyYAML: " +
		"sudo apt-get install python3-fastapi python3-uvicorn python3-asyncpg python3-yaml")
	return ""
}

// startFastAPI runs testdata/existing/app.py, and returns its URL once it answers.
func startFastAPI(tb testing.TB, databaseURL string, env ...string) string {
	tb.Helper()
	dir, err := filepath.Abs(filepath.Join("testdata", "existing"))
	if err != nil {
		tb.Fatal(err)
	}
	addr := servers.FreeAddr(tb)
	port := addr[strings.LastIndexByte(addr, ':')+1:]
	p := start(tb, launch{
		program: python(tb), args: []string{"-m", "uvicorn", "app:app", "--app-dir", dir, "--port", port},
		env: append(env, "DATABASE_URL="+databaseURL, "PYTHONDONTWRITEBYTECODE=1"),
	})
	tb.Cleanup(func() {
		p.signal(syscall.SIGTERM)
		p.exitCode()
	})
	web := newClient(tb)
	eventually(tb, "the FastAPI service to answer", func() bool {
		if p.hasEnded() {
			tb.Fatal("the FastAPI service has ended")
		}
		got, err := web.try(http.MethodGet, "http://"+addr+"/healthz", "")
		return err == nil && got.status == http.StatusOK
	})
	return "http://" + addr
}

func TestAFastAPIServiceIsServedBehindTheProxyUnchanged(t *testing.T) {
	t.Parallel()
	api := newExistingAPI(t)
	url := startFastAPI(t, api.stack.url)
	proxy := api.inFrontOf(url, "--keep-credential")
	api.checkFastAPI(t, proxy)
	// Without the key, the service refuses what the proxy has let through: it is asked, and as strict as before.
	taking := api.inFrontOf(url)
	if got := newClient(t).post(taking.url, api.keys[0], anEvent); got.status != 401 || !strings.Contains(string(got.body), "no key") {
		t.Errorf("without its key the service answers %v", got)
	}
}

func TestAFastAPIServiceMayBelieveTheProxy(t *testing.T) {
	t.Parallel()
	api := newExistingAPI(t)
	proxy := api.inFrontOf(startFastAPI(t, api.stack.url, "TRUST_EDGE=1"))
	api.checkFastAPI(t, proxy)
}

func (a *existingAPI) inFrontOf(url string, args ...string) *service {
	a.tb.Helper()
	a.upstream = &upstream{url: url}
	return a.proxy(append(args, "--public-path", "/healthz", "--public-path", "/docs", "--public-path", "/openapi.json")...)
}

// checkFastAPI uses every route of the service through the proxy.
func (a *existingAPI) checkFastAPI(t *testing.T, proxy *service) {
	t.Helper()
	web := newClient(t)
	for path, want := range map[string]string{"/healthz": `{"ok":true}`, "/docs": "swagger", "/openapi.json": "/v1/events"} {
		if got := web.get(proxy.url + path); got.status != http.StatusOK || !strings.Contains(string(got.body), want) {
			t.Errorf("%s is answered %.200v", path, got)
		}
	}
	const each = 40
	var group sync.WaitGroup
	for _, key := range a.keys {
		// On a machine this busy the very first look-up may take longer than half a second, which is answered with 503.
		eventually(t, "a key to be looked up", func() bool { return web.get(proxy.url+"/nothing", "X-API-Key", key).status == http.StatusNotFound })
		group.Go(func() {
			for range each {
				got, err := web.try(http.MethodPost, proxy.url+"/v1/events", anEvent, "X-API-Key", key, "Content-Type", "application/json",
					"X-Org-Id", a.orgs[0])
				if err != nil || got.status != http.StatusCreated {
					t.Errorf("an event is answered %v, %v", got, err)
				}
			}
		})
	}
	group.Wait()
	for i, org := range a.orgs {
		if n := count(t, a.db, "select count(*) from events e join event_deliveries d on d.event_id = e.id where org_id = $1", org); n != each {
			t.Errorf("organisation %d has %d events, not %d", i, n, each)
		}
	}
	if got := web.post(proxy.url, a.keys[0], `{"payload":1}`); got.status != 422 || !strings.Contains(string(got.body), `"detail":[`) {
		t.Errorf("the service's own refusal arrives as %v", got)
	}
	before := count(t, a.db, "select count(*) from events")
	web.post(proxy.url, a.keys[0]+"x", anEvent).refuses(t, 401, "invalid_api_key")
	a.setActive(t, 1, false)
	web.invalidate(proxy, `{"prefixes":["`+a.keys[1][:foreignPrefix]+`"]}`).report(t)
	web.post(proxy.url, a.keys[1], anEvent).refuses(t, 401, "invalid_api_key")
	if after := count(t, a.db, "select count(*) from events"); after != before {
		t.Errorf("%d events were stored without a good key", after-before)
	}
}

// One route of the service moves to a writer, with tables of its own. The service stays as it is, and does not hear of it.
func TestTheEventsOfAFastAPIServiceMayMoveToTheWriter(t *testing.T) {
	t.Parallel()
	api, moved := newExistingAPI(t), newStack(t)
	url := startFastAPI(t, api.stack.url)
	proxy := serve(t, proxyProgram, []string{"TRUST_SECRET=" + trustSecret, "DATABASE_URL=" + api.stack.url, "REDIS_URL=" + api.redis.URL()},
		"--key-query", keyQuery, "--key-prefix-length", fmt.Sprint(foreignPrefix), "--keep-credential", "--public-path", "/healthz",
		"--upstream", url, "--route", "/v1/events="+moved.writer().url, "--upstream-idempotent", "/v1/events").ready()
	web := newClient(t)
	for i, org := range api.orgs {
		key := api.keys[i]
		first := web.post(proxy.url, key, `{"type":"moved","dedup_id":"one","payload":{"n":1}}`).wants(t, 201, "accepted")
		if again := web.post(proxy.url, key, `{"type":"moved","dedup_id":"one","payload":{"n":1.0}}`).wants(t, 200, "duplicate"); again.ID != first.ID {
			t.Errorf("the same event again is %+v, not %+v", again, first)
		}
		if got := web.do(http.MethodPost, proxy.url+"/v1/events/batch", "["+anEvent+","+anEvent+"]", "X-API-Key", key); got.status != 200 {
			t.Errorf("a batch is answered %v", got)
		}
		if n := count(t, moved.db, "select count(*) from events where org_id = $1", org); n != 3 {
			t.Errorf("organisation %d has %d events at the writer, not 3", i, n)
		}
		if got := web.get(proxy.url+"/v1/inbox", "X-API-Key", key); string(got.body) != `{"organization":"`+org+`","events":[]}` {
			t.Errorf("the service's own route is answered %v", got)
		}
	}
	events(t, moved.db)
	if n := count(t, api.db, "select count(*) from events"); n != 0 {
		t.Errorf("the service has stored %d events", n)
	}
	if got := web.get(proxy.url + "/healthz"); string(got.body) != `{"ok":true}` {
		t.Errorf("/healthz is answered %v", got)
	}
	if got := web.get(proxy.url+"/v1/nothing", "X-API-Key", api.keys[0]); got.status != http.StatusNotFound || string(got.body) != `{"detail":"Not Found"}` {
		t.Errorf("the service's own 404 arrives as %v", got)
	}
	web.post(proxy.url, api.keys[0]+"x", anEvent).refuses(t, 401, "invalid_api_key")
	web.get(proxy.url+"/v1/inbox").refuses(t, 401, "missing_api_key")
}
