package e2e

import (
	"net/http"
	"syscall"
	"testing"

	"keygate/tests/servers"
)

func TestOtherProxiesAreToldWhoIsCalling(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	api := startUpstream(t, nil)
	verify := servers.FreeAddr(t)
	proxy := s.proxy(api.url, "--verify-listen", verify, "--public-path", "/", "--public-preflight", "--org-header", "X-Tenant")
	key, web := s.createKeyHeardBy(proxy), newClient(t)
	ask := func(header ...string) answer {
		t.Helper()
		return web.do(http.MethodOptions, "http://"+verify+"/docs", "", append(header, "Access-Control-Request-Method", "POST")...)
	}
	eventually(t, "a key to be looked up", func() bool { return ask("X-API-Key", key.Key).status == http.StatusOK })
	got := ask("Authorization", "Bearer "+key.Key, "X-Tenant", "evil")
	if got.header.Get("X-Tenant") != key.OrgID || got.header.Get("X-Org-Key") != key.Prefix || len(got.header.Get("X-Keygate-Id")) != 36 {
		t.Errorf("a good key is answered %v", got.header)
	}
	ask().refuses(t, 401, "missing_api_key")
	ask("X-API-Key", key.Key, "Authorization", "Bearer "+key.Key).refuses(t, 401, "ambiguous_credentials")
	if got := web.get(proxy.url + "/docs"); got.status != http.StatusOK {
		t.Errorf("at the edge a public path is answered %v", got)
	}
	run(t, s.keys("revoke", key.Prefix))
	eventually(t, "a revoked key to be refused", func() bool { return ask("X-API-Key", key.Key).status == http.StatusUnauthorized })
	if n := proxy.metric("keygate_proxy_verify_requests_total"); n < 5 {
		t.Errorf("%v questions are counted", n)
	}
	if seen := len(api.all()); seen != 1 {
		t.Errorf("the API has seen %d requests instead of the one at the edge", seen)
	}
	proxy.stop(syscall.SIGTERM)
	if _, err := web.try(http.MethodGet, "http://"+verify+"/", ""); err == nil {
		t.Error("after the stop the verify listener still answers")
	}
}
