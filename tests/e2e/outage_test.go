package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"keygate/tests/servers"
)

// readiness is the body of /readyz.
type readiness struct {
	Degraded []string `json:"degraded"`
}

// readyz returns the status of the probe and what works only in part.
func (s *service) readyz() (status int, degraded []string) {
	s.tb.Helper()
	got := s.web.get(s.admin + "/readyz")
	var body readiness
	if err := json.Unmarshal(got.body, &body); err != nil || body.Degraded == nil {
		s.tb.Fatalf("/readyz answers %v", got)
	}
	return got.status, body.Degraded
}

// degrades waits until the service is ready, and degraded or not.
func (s *service) degrades(degraded bool) {
	s.tb.Helper()
	status, parts := 0, []string(nil)
	defer func() { // also when the wait is in vain
		if s.tb.Failed() {
			s.tb.Logf("/readyz is %d, degraded %q", status, parts)
		}
	}()
	eventually(s.tb, "/readyz to be 200 and to say what is degraded", func() bool {
		status, parts = s.readyz()
		return status == http.StatusOK && (len(parts) > 0) == degraded
	})
}

// createKeyHeardBy waits until the proxy has heard of the new key. What it then learns of the key stays known, because no
// change is on its way any more that would remove it.
func (s *stack) createKeyHeardBy(proxy *service) apiKey {
	s.tb.Helper()
	removals := func() float64 { return proxy.metric("keygate_proxy_changes_total", `verb="remove"`) }
	before := removals()
	key := s.createKey("acme")
	eventually(s.tb, "the proxy to hear of a new key", func() bool { return removals() > before })
	return key
}

// What a proxy learned before it had read the change log could be removed by that, just as the database goes away.
func TestNobodyIsServedBeforeChangesAreHeard(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	key := s.createKey("acme")
	proxy := s.proxy(startUpstream(t, nil).url)
	// The listener is open before; who connects then waits.
	if got := newClient(t).get(proxy.url+"/", "X-API-Key", key.Key); got.status != http.StatusOK {
		t.Fatalf("a key is answered %v", got)
	}
	if _, degraded := proxy.readyz(); len(degraded) > 0 {
		t.Errorf("the first client was served while /readyz says of %q that they are degraded", degraded)
	}
}

func TestKnownKeysOutliveTheDatabaseAndRedis(t *testing.T) {
	t.Parallel()
	postgres := servers.StartPostgres(t)
	s := stackOn(t, postgres.Database(t))
	proxy := s.proxy(startUpstream(t, nil).url)
	known, fresh := s.createKeyHeardBy(proxy), s.createKeyHeardBy(proxy)
	web := newClient(t)
	use := func(key string) answer {
		t.Helper()
		return web.get(proxy.url+"/", "X-API-Key", key)
	}
	stillKnown := func(when string) {
		t.Helper()
		for range 10 {
			if got := use(known.Key); got.status != http.StatusOK {
				t.Fatalf("%s a known key is answered %v", when, got)
			}
		}
		use(guessed(known.Prefix)).refuses(t, 401, "invalid_api_key")
	}
	recovers := func(when string, key string, status int) {
		t.Helper()
		eventually(t, when+" keys to be looked up again", func() bool { return use(key).status == status })
		stillKnown(when)
	}
	stillKnown("at first")

	postgres.Stop()
	stillKnown("without Postgres")
	for _, key := range []string{fresh.Key, unknownKey} {
		use(key).refuses(t, 503, "auth_unavailable")
	}
	use("no key of ours").refuses(t, 401, "invalid_api_key")
	proxy.degrades(true)

	s.redis.Stop()
	stillKnown("without Postgres and Redis")
	use(fresh.Key).refuses(t, 503, "auth_unavailable")

	postgres.Start()
	recovers("with Postgres back", fresh.Key, http.StatusOK)
	use(unknownKey).refuses(t, 401, "invalid_api_key")
	proxy.degrades(true) // there still is no Redis

	s.redis.Start()
	proxy.degrades(false)
	recovers("with all back", fresh.Key, http.StatusOK)
	third := s.createKey("acme")
	recovers("with all back", third.Key, http.StatusOK)
	run(t, s.keys("revoke", third.Prefix))
	answers(t, proxy.url, third, 401)
}

func TestWithoutRedisEverythingWorks(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	writer := s.writer()
	proxies := []*service{s.proxy(writer.url), s.proxy(writer.url)}
	used := s.createKey("acme")
	web := newClient(t)
	web.post(proxies[0].url, used.Key, anEvent).wants(t, 201, "accepted")
	s.redis.Stop()
	for _, proxy := range proxies {
		web.post(proxy.url, used.Key, anEvent).wants(t, 201, "accepted")
		web.post(proxy.url, s.createKey("acme").Key, anEvent).wants(t, 201, "accepted")
		web.post(proxy.url, unknownKey, anEvent).refuses(t, 401, "invalid_api_key")
	}
	r := web.invalidate(proxies[0], `{"all":true}`).report(t)
	if r.Complete || r.Proxies != nil {
		t.Errorf("without Redis an invalidation reports %+v", r)
	}
	run(t, s.keys("revoke", used.Prefix))
	for _, proxy := range proxies {
		answers(t, proxy.url, used, 401)
	}
}

func TestARestartOfPostgresIsLatencyAndNoError(t *testing.T) {
	t.Parallel()
	postgres := servers.StartPostgres(t)
	s := stackOn(t, postgres.Database(t))
	writer := s.writer()
	proxy := s.proxy(writer.url)
	key, web := s.createKeyHeardBy(proxy), newClient(t)
	web.post(proxy.url, key.Key, anEvent).wants(t, 201, "accepted")
	postgres.Kill()
	const waiting = 20
	got := make(chan answer, waiting)
	for range waiting {
		go func() {
			a, err := web.try(http.MethodPost, proxy.url+"/v1/events", anEvent, "X-API-Key", key.Key)
			if err != nil {
				a.body = []byte(err.Error())
			}
			got <- a
		}()
	}
	eventually(t, "the events to wait in the queue", func() bool {
		if len(got) > 0 {
			t.Fatalf("instead of waiting an event is answered %v, %v", <-got, writer.web.get(writer.admin+"/v1/stats"))
		}
		return writer.metric("keygate_writer_queue_rows") == waiting
	})
	if status, _ := writer.readyz(); status != http.StatusOK {
		t.Errorf("while the outage is young the writer's /readyz is %d", status)
	}
	postgres.Start()
	for range waiting {
		(<-got).wants(t, 201, "accepted")
	}
	if n := events(t, s.db); n != 1+waiting {
		t.Errorf("%d events are stored, not %d", n, 1+waiting)
	}
}

func TestAnOutageLongerThanRideOutIsToldAndEndsByItself(t *testing.T) {
	t.Parallel()
	postgres := servers.StartPostgres(t)
	s := stackOn(t, postgres.Database(t))
	writer := s.writer("--ride-out", "1s")
	proxy := s.proxy(writer.url)
	key, web := s.createKeyHeardBy(proxy), newClient(t)
	web.post(proxy.url, key.Key, anEvent).wants(t, 201, "accepted")
	postgres.Stop()
	got := web.post(proxy.url, key.Key, anEvent)
	if p := got.refuses(t, 503, codeOf(got)); p.Code != "unavailable" && p.Code != "commit_unknown" {
		t.Errorf("without Postgres an event is answered %v", got)
	}
	eventually(t, "the writer to say that it is not ready", func() bool {
		status, _ := writer.readyz()
		return status == http.StatusServiceUnavailable
	})
	postgres.Start()
	writer.ready()
	before := events(t, s.db)
	web.post(proxy.url, key.Key, anEvent).wants(t, 201, "accepted")
	if n := events(t, s.db); n != before+1 {
		t.Errorf("%d events are stored, not %d", n, before+1)
	}
}

func codeOf(a answer) string {
	var p problem
	_ = json.Unmarshal(a.body, &p) // refuses says what is wrong with it
	return p.Code
}

func TestServeWaitsForItsDatabase(t *testing.T) {
	t.Parallel()
	postgres := servers.StartPostgres(t)
	s := stackOn(t, postgres.Database(t))
	key, web := s.createKey("acme"), newClient(t)
	s.redis.Stop()
	postgres.Stop()

	writer := serve(t, writerProgram, s.env, "--ride-out", "1s")
	proxy := serve(t, proxyProgram, s.env, "--upstream", writer.url)
	for _, service := range []*service{writer, proxy} {
		eventually(t, "the admin listener to answer, and not to be ready", func() bool {
			got, err := web.try(http.MethodGet, service.admin+"/readyz", "")
			return err == nil && got.status == http.StatusServiceUnavailable
		})
		if got := web.get(service.admin + "/healthz"); got.status != http.StatusOK {
			t.Errorf("/healthz answers %v", got)
		}
	}
	web.post(proxy.url, key.Key, anEvent).refuses(t, 503, "auth_unavailable")

	postgres.Start()
	writer.ready()
	proxy.ready()
	eventually(t, "an event to be stored", func() bool { return web.post(proxy.url, key.Key, anEvent).status == http.StatusCreated })
	proxy.degrades(true)
	s.redis.Start()
	proxy.degrades(false)
	for _, service := range []*service{writer, proxy} {
		if warnings := strings.Count(service.stderr.String(), "WARN"); warnings > 6 {
			t.Errorf("one outage makes %d warnings", warnings)
		}
	}
}
