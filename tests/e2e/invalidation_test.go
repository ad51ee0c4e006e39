package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"keygate/tests/servers"
)

// report is what every invalidation answers.
type report struct {
	Invalidated, Confirmed int
	Proxies                *int
	Complete               bool
	TookMS                 float64 `json:"took_ms"`
}

func (a answer) report(tb testing.TB) (r report) {
	tb.Helper()
	if err := json.Unmarshal(a.body, &r); err != nil || a.status != http.StatusOK {
		tb.Fatalf("the invalidation answers %v", a)
	}
	return r
}

// everything is no number of prefixes.
const everything = -1

// completes wants an invalidation of so many prefixes to have reached both proxies.
func (a answer) completes(tb testing.TB, prefixes int) {
	tb.Helper()
	r := a.report(tb)
	if !r.Complete || r.Proxies == nil || *r.Proxies != 2 || r.Confirmed != 2 || r.TookMS <= 0 ||
		prefixes != everything && r.Invalidated != prefixes {
		tb.Errorf("the invalidation answers %v; wanted complete, 2 of 2 proxies, %d prefixes", a, prefixes)
	}
}

func (c *client) invalidate(s *service, body string) answer {
	c.tb.Helper()
	return c.do(http.MethodPost, s.admin+"/v1/cache/invalidate", body, "Content-Type", "application/json")
}

// A table without a change log is the hard case: nobody but the invalidation tells the proxies of a change.
func TestAfterAnInvalidationTheNextRequestOnEveryProxySeesTheTruth(t *testing.T) {
	t.Parallel()
	api := newExistingAPI(t)
	one, two := api.proxy(), api.proxy()
	web := newClient(t)
	prefix := api.keys[0][:foreignPrefix]
	f := func(what string, invalidated int, invalidate func() answer) {
		t.Run(what, func(t *testing.T) {
			for round, active := range []bool{false, true} {
				for _, proxy := range []*service{one, two} {
					api.wants(t, proxy, 0, !active)
				}
				api.setActive(t, 0, active)
				for _, proxy := range []*service{one, two} {
					api.wants(t, proxy, 0, !active) // nobody has told them
				}
				invalidate().completes(t, invalidated)
				next := []*service{one, two}
				api.wants(t, next[round%2], 0, active)
				api.wants(t, next[1-round%2], 0, active)
			}
		})
	}
	f("of a prefix", 1, func() answer { return web.invalidate(one, fmt.Sprintf(`{"prefixes":[%q]}`, prefix)) })
	f("of several prefixes", 2, func() answer {
		return web.invalidate(two, fmt.Sprintf(`{"prefixes":[%q,%q]}`, api.keys[1][:foreignPrefix], prefix))
	})
	f("of all", everything, func() answer { return web.invalidate(one, `{"all":true}`) })
	f("by DELETE", 1, func() answer { return web.do(http.MethodDelete, two.admin+"/v1/cache/keys/"+prefix, "") })
}

func TestADeletedRedisKeyMakesTheTruthVisibleSoon(t *testing.T) {
	t.Parallel()
	api := newExistingAPI(t)
	proxies := []*service{api.proxy(), api.proxy()}
	web := newClient(t)
	for range 5 {
		for _, active := range []bool{false, true} {
			for _, proxy := range proxies {
				api.wants(t, proxy, 0, !active)
			}
			api.setActive(t, 0, active)
			for _, proxy := range proxies {
				api.wants(t, proxy, 0, !active)
			}
			if got := api.redisCommand(t, "DEL", "org:prefix:"+api.keys[0][:foreignPrefix]); got != ":1" {
				t.Fatalf("DEL answers %s: there was no such key", got)
			}
			for _, proxy := range proxies {
				took := within(t, soon, "the truth", func() bool {
					return (web.get(proxy.url, "X-API-Key", api.keys[0]).status == http.StatusOK) == active
				})
				t.Logf("active is %v after %v", active, took)
				api.wants(t, proxy, 0, active)
			}
		}
	}
}

func TestAChangeLogThatIsMadeWhileProxiesRunIsFollowed(t *testing.T) {
	t.Parallel()
	api := newExistingAPI(t)
	proxy := api.proxy()
	run(t, launch{
		program: proxyProgram, args: []string{"migrate", "up", "--only", "changelog"}, env: []string{"DATABASE_URL=" + api.stack.url},
	})
	execute(t, api.db, "select keygate_watch('organizations', 'api_key_prefix')")
	eventually(t, "a proxy that follows", func() bool { return proxy.metric("keygate_proxy_changelog_connected") == 1 })
	for _, active := range []bool{true, false, true} {
		api.setActive(t, 0, active)
		within(t, soon, "the truth", func() bool {
			return (proxy.web.get(proxy.url, "X-API-Key", api.keys[0]).status == http.StatusOK) == active
		})
	}
}

func TestAnInvalidationSendsTheFleetBackToTheSource(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	api := startUpstream(t, nil)
	proxies := []*service{s.proxy(api.url), s.proxy(api.url)}
	web := newClient(t)
	first, second := s.createKey("acme"), s.createKey("acme")
	s.createKey("other")
	use := func() {
		t.Helper()
		for _, proxy := range proxies {
			if got := web.get(proxy.url, "X-API-Key", first.Key); got.status != http.StatusOK {
				t.Fatalf("a good key is answered %v", got)
			}
		}
	}
	queries := func() int { return proxies[0].sourceQueries() + proxies[1].sourceQueries() }
	f := func(what string, invalidated int, invalidate func(at *service) answer) {
		t.Run(what, func(t *testing.T) {
			for _, proxy := range proxies {
				use()
				before := queries()
				use()
				if asked := queries() - before; asked != 0 {
					t.Errorf("a key used a moment ago costs %d queries", asked)
				}
				invalidate(proxy).completes(t, invalidated)
				use()
				if asked := queries() - before; asked < 1 {
					t.Error("after the invalidation the database is not asked")
				}
			}
		})
	}
	f("of a prefix", 1, func(at *service) answer { return web.invalidate(at, fmt.Sprintf(`{"prefixes":[%q]}`, first.Prefix)) })
	f("of an organisation", 2, func(at *service) answer { return web.invalidate(at, fmt.Sprintf(`{"org_id":%q}`, second.OrgID)) })
	f("of all", everything, func(at *service) answer { return web.invalidate(at, `{"all":true}`) })
	f("by DELETE", 1, func(at *service) answer {
		return web.do(http.MethodDelete, at.admin+"/v1/cache/keys/"+first.Prefix, "")
	})

	proxies[1].stop(syscall.SIGTERM)
	if r := web.invalidate(proxies[0], `{"all":true}`).report(t); !r.Complete || r.Proxies == nil || *r.Proxies != 1 {
		t.Errorf("after the other proxy has stopped an invalidation reports %+v", r)
	}
}

func TestTheInvalidationEndpointRefusesWhatItCannotMean(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	own := s.proxy(startUpstream(t, nil).url)
	foreign := newExistingAPI(t).proxy()
	web := newClient(t)
	f := func(at *service, body string, status int, code string) {
		t.Helper()
		web.invalidate(at, body).refuses(t, status, code)
	}
	f(own, `{}`, 400, "bad_request")
	f(own, `{"prefixes":[]}`, 400, "bad_request")
	f(own, `{"prefixes":["zap_live_000000000000"],"all":true}`, 400, "bad_request")
	f(own, `{"all":`, 400, "malformed_json")
	f(own, `{"org_id":"nobody"}`, 404, "not_found")
	f(foreign, `{"org_id":"7d444840-9dc0-11d1-b245-5ffdce74fad2"}`, 422, "invalid_event")
	many := strings.TrimSuffix(strings.Repeat(`"zap_live_000000000000",`, 10_001), ",")
	f(own, `{"prefixes":[`+many+`]}`, 400, "bad_request")

	path := own.admin + "/v1/cache/invalidate"
	web.do("POST", path, `{"all":true}`).refuses(t, 403, "untrusted_caller") // not JSON by its content type
	web.do("POST", path, `{"all":true}`, "Content-Type", "application/json", "Origin", "https://evil.example").
		refuses(t, 403, "untrusted_caller")
	w := dial(t, strings.TrimPrefix(own.admin, "http://"))
	w.send("GET /v1/stats HTTP/1.1\r\nHost: evil.example\r\n\r\n")
	w.receive("GET").refuses(t, 403, "untrusted_caller")
}

func TestTheAdminListenerWantsItsTokenOnceThereIsOne(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	const token = "the token of the admins"
	s.env = append(s.env, "ADMIN_TOKEN="+token)
	writer := s.writer()
	proxy := s.proxy(writer.url)
	web := newClient(t)
	for _, at := range []*service{proxy, writer} {
		for _, path := range []string{"/healthz", "/readyz", "/metrics", "/version"} {
			if got := web.get(at.admin + path); got.status != http.StatusOK {
				t.Errorf("%s is answered %v", path, got)
			}
		}
		for _, path := range []string{"/v1/stats", "/debug/pprof/", "/"} {
			web.get(at.admin+path).refuses(t, 401, "missing_api_key")
			web.get(at.admin+path, "Authorization", "Bearer something else").refuses(t, 401, "invalid_api_key")
			if got := web.get(at.admin+path, "Authorization", "Bearer "+token); got.status != http.StatusOK {
				t.Errorf("with the token %s is answered %v", path, got)
			}
		}
	}
	web.invalidate(proxy, `{"all":true}`).refuses(t, 401, "missing_api_key")
	run(t, launch{program: proxyProgram, args: []string{"invalidate", "--all", "--admin-url", proxy.admin}, env: s.env})
	runFailing(t, launch{program: proxyProgram, args: []string{"invalidate", "--all", "--admin-url", proxy.admin}})
}

func TestTheCommandsOfAProxyAskEveryAdminListener(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	api := startUpstream(t, nil)
	proxies := []*service{s.proxy(api.url), s.proxy(api.url)}
	key, web := s.createKey("acme"), newClient(t)
	for _, proxy := range proxies {
		web.get(proxy.url, "X-API-Key", key.Key)
	}
	command := func(at []string, args ...string) launch {
		for _, url := range at {
			args = append(args, "--admin-url", url)
		}
		return launch{program: proxyProgram, args: args}
	}
	both := []string{proxies[0].admin, proxies[1].admin}
	f := func(args []string, wants ...string) {
		t.Helper()
		text := run(t, command(both, args...))
		for _, want := range append(wants, both...) {
			if !strings.Contains(text, want) {
				t.Errorf("%q does not say %q:\n%s", args, want, text)
			}
		}
	}
	f([]string{"healthcheck"}, "ready")
	f([]string{"explain", key.Prefix}, "memory", "redis", "source", key.OrgID, "these 2 proxies agree")
	f([]string{"invalidate", key.Prefix}, "2 of 2")
	f([]string{"invalidate", "--all"}, "2 of 2")

	nowhere := append(both, "http://"+servers.FreeAddr(t))
	for _, args := range [][]string{{"healthcheck"}, {"explain", key.Prefix}, {"invalidate", "--all"}} {
		if line := runFailing(t, command(nowhere, args...)); !strings.Contains(line, nowhere[2]) {
			t.Errorf("%q: the line does not name the listener that is not there: %s", args, line)
		}
	}
	runFailing(t, command(both, "invalidate"))
	runFailing(t, command(both, "explain"))
}
