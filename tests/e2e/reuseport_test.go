package e2e

import (
	"net/http"
	"syscall"
	"testing"

	"keygate/tests/servers"
)

// Two proxies behind one port: clients do not notice which of them they meet, nor that one of them ends.
func TestProxiesShareAPort(t *testing.T) {
	t.Parallel()
	s := newEdge(t)
	api := named(t, "ok")
	key := s.createKey("acme").Key
	addr := servers.FreeAddr(t)
	open := func() *service {
		return serveAt(t, proxyProgram, addr, s.env, "--upstream", api.url, "--reuse-port").ready()
	}
	first, second := open(), open()
	ask := func() {
		t.Helper()
		web := newClient(t) // and so a connection of its own
		if got := web.get(first.url+"/", "X-API-Key", key); got.status != http.StatusOK {
			t.Fatalf("answered %v", got)
		}
		web.http.CloseIdleConnections()
	}
	served := func(p *service) float64 { return p.metric("keygate_proxy_requests_total", `status="2xx"`) }
	for served(first) == 0 || served(second) == 0 {
		ask()
	}
	first.stop(syscall.SIGTERM)
	before := served(second)
	for range 20 {
		ask()
	}
	if got := served(second) - before; got != 20 {
		t.Errorf("the proxy that is left has answered %v of 20", got)
	}
	// Who does not say so does not share.
	alone := serveAt(t, proxyProgram, addr, s.env, "--upstream", api.url)
	if code := alone.exitCode(); code != 1 {
		t.Errorf("a proxy that does not share ended with %d", code)
	}
}
