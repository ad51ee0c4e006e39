package e2e

import (
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"keygate/shared/certificate/certtest"
)

// Behind one trusted proxy, over HTTPS, with limits: what the flags promise, seen by a client and by the API.
func TestClientsAreServedByHTTPSWithACertificateThatChanges(t *testing.T) {
	t.Parallel()
	api := newExistingAPI(t)
	dir := t.TempDir()
	pair := certtest.Issue(t, "first")
	cert, key := pair.Write(t, dir)
	proxy := api.plainProxy("--tls-cert", cert, "--tls-key", key, "--trusted-hops", "1", "--max-connections-per-address", "3")
	web := newClient(t)
	trust := func(p certtest.Pair) {
		web.http.CloseIdleConnections()
		web.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.Pool()}}
		t.Cleanup(web.http.CloseIdleConnections)
	}
	ask := func() {
		t.Helper()
		got, err := web.try("GET", "https://"+proxy.addr+"/a", "", "X-API-Key", api.keys[0], "X-Forwarded-For", "6.6.6.6, 203.0.113.7")
		if err != nil || got.status != http.StatusOK {
			t.Fatalf("answered %v, %v", got, err)
		}
		seen := api.one(t)
		for name, want := range map[string]string{"x-forwarded-for": "203.0.113.7, 127.0.0.1", "x-real-ip": "203.0.113.7",
			"x-forwarded-proto": "https", "x-forwarded-host": proxy.addr} {
			if got := seen.values(name); !slices.Equal(got, []string{want}) {
				t.Errorf("the API sees %s as %q", name, got)
			}
		}
		api.vouched(t, seen, 0)
	}
	trust(pair)
	ask()
	next := certtest.Issue(t, "second")
	next.Write(t, dir)
	eventually(t, "the new certificate to be used", func() bool {
		return proxy.metric("keygate_proxy_tls_certificate_expiry_timestamp_seconds") == float64(next.Expires.Unix())
	})
	ask() // on the connection that is open
	trust(next)
	ask()
	plain := dial(t, proxy.addr)
	plain.send(request("GET", "/", ""))
	plain.receive("GET").refuses(t, 400, "bad_request")

	eventually(t, "a connection too many to be refused", func() bool {
		conn, err := net.Dial("tcp", proxy.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return proxy.metric("keygate_proxy_connections_refused_total", `limit="address"`) > 0
	})
	if open := proxy.metric("keygate_proxy_connections"); open != 3 {
		t.Errorf("%v connections are open", open)
	}
}

func TestHalfOfACertificateIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	cert, key := certtest.Issue(t, "edge").Write(t, t.TempDir())
	f := func(want string, args ...string) {
		t.Helper()
		args = append([]string{"serve", "--database-url", "sqlite:keys", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args...)
		if got := runFailing(t, launch{program: proxyProgram, args: args}); !strings.Contains(got, want) {
			t.Errorf("%q: %s", args, got)
		}
	}
	f("--tls-cert and --tls-key belong together", "--tls-cert", cert)
	f("no such file", "--tls-cert", cert, "--tls-key", key+".gone")
	f("failed to find", "--tls-cert", key, "--tls-key", key)
	f("allow at most", "--max-connections", "1000000000")
}
