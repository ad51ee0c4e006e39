package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"keygate/tests/servers"
)

// spelled are the ways in which a secret could come to light.
func spelled(secret string) []string {
	hash := sha256.Sum256([]byte(secret))
	return []string{secret, url.QueryEscape(secret), hex.EncodeToString([]byte(secret)),
		base64.StdEncoding.EncodeToString([]byte(secret)), hex.EncodeToString(hash[:]), fmt.Sprint(hash[:])}
}

func TestNoSecretIsEverPrinted(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	const adminToken, password = "canary-of-the-admin-token", "canary-of-a-password"
	withPassword, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	withPassword.User = url.UserPassword("keygate", password)
	s.env = []string{"DATABASE_URL=" + withPassword.String(), "REDIS_URL=redis://:" + password + "@" + s.redis.Addr() + "/0",
		"TRUST_SECRET=" + trustSecret, "ADMIN_TOKEN=" + adminToken, "LOG_LEVEL=debug"}
	s.redisCommand(t, "CONFIG", "SET", "requirepass", password)
	writer := s.writer()
	proxy := s.proxy(writer.url, "--timing")
	key := s.createKey("acme")
	sendSecrets(t, []string{proxy.addr, writer.addr}, key)

	// What goes wrong is what gets logged.
	web := newClient(t)
	var pages strings.Builder
	for _, at := range []*service{proxy, writer} {
		for _, path := range []string{"/metrics", "/v1/stats", "/readyz", "/", "/debug/pprof/cmdline", "/v1/cache/keys/" + key.Prefix} {
			pages.Write(web.get(at.admin+path, "Authorization", "Bearer "+adminToken).body)
		}
		web.do(http.MethodDelete, at.admin+"/v1/cache/keys/"+key.Key, "", "Authorization", "Bearer "+adminToken)
	}
	s.redis.Stop()
	sendSecrets(t, []string{proxy.addr}, key)
	writer.stop(syscall.SIGTERM)
	sendSecrets(t, []string{proxy.addr}, key)
	proxy.stop(syscall.SIGTERM)

	closed := servers.FreeAddr(t)
	gone := []string{"DATABASE_URL=postgres://keygate:" + password + "@" + closed + "/keygate",
		"REDIS_URL=redis://:" + password + "@" + closed + "/0", "TRUST_SECRET=" + trustSecret, "LOG_LEVEL=debug"}
	lost := serve(t, proxyProgram, gone)
	eventually(t, "the proxy to complain", func() bool { return strings.Contains(lost.stderr.String(), "WARN") })
	lost.stop(syscall.SIGTERM)
	printed := map[string]string{
		"proxy": proxy.output(), "writer": writer.output(), "pages": pages.String(), "lost proxy": lost.output(),
		"migrate": runFailing(t, launch{program: proxyProgram, args: []string{"migrate", "up"}, env: gone}),
		"broken":  runFailing(t, launch{program: proxyProgram, args: []string{"migrate", "up"}, env: []string{"DATABASE_URL=postgres://k:" + password + "@%zz/"}}),
		"keys":    runFailing(t, launch{program: proxyProgram, args: []string{"keys", "list"}, env: gone}),
	}
	secrets := append(spelled(key.Key), key.Key[len(key.Prefix)+1:], adminToken, password, trustSecret)
	for who, text := range printed {
		for _, secret := range secrets {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s prints %q: …%s…", who, secret, text[max(0, at-200):min(len(text), at+len(secret)+50)])
			}
		}
	}
}

// sendSecrets puts a key wherever a client could, in requests that are right and wrong.
func sendSecrets(t *testing.T, addrs []string, key apiKey) {
	t.Helper()
	event := fmt.Sprintf(`{"type":"a","dedup_id":%q,"payload":{%q:%q}}`, key.Key, key.Key, key.Key)
	const host = "Host: api.example.com\r\n"
	for _, addr := range addrs {
		for _, text := range []string{
			request("POST", "/v1/events", event, "X-API-Key: "+key.Key, "X-Request-Id: "+key.Key),
			request("POST", "/v1/events?key="+key.Key, event, "Authorization: Bearer "+key.Key),
			request("POST", "/v1/events", `{"type":"a","payload":{"`+key.Key+`":"\u0000"}}`, "X-API-Key: "+key.Key),
			request("POST", "/v1/events", key.Key, "X-API-Key: "+key.Key),
			request("GET", "/"+key.Key, "", "X-API-Key: "+key.Key),
			request("POST", "/v1/events", event, "X-API-Key: "+key.Key[:len(key.Key)-1]+"x"),
			request("POST", "/v1/events", event, "X-API-Key: "+key.Key, "X-API-Key: "+key.Key),
			request("POST", "/v1/events", event, "Authorization: Basic "+key.Key),
			request("POST", "/v1/events", event, "X-Org-Id: "+key.Key, "X-Keygate-Id: "+key.Key, "X-Org-Signature: "+key.Key),
			"POST /v1/events HTTP/1.1\r\n" + host + "Bad Name: " + key.Key + "\r\n\r\n",
			"POST /v1/events HTTP/1.1\r\n" + host + key.Key + "\r\n\r\n",
			key.Key + " /v1/events HTTP/1.1\r\n" + host + "X-API-Key: " + key.Key + "\r\n\r\n",
			"GET /v1/events " + key.Key + "\r\n\r\n",
			key.Key + "\r\n\r\n",
			"GET / HTTP/1.1\r\n" + host + strings.Repeat("X-API-Key: "+key.Key+"\r\n", 2000) + "\r\n",
			"POST /v1/events HTTP/1.1\r\n" + host + "X-API-Key: " + key.Key + "\r\nTransfer-Encoding: chunked\r\n\r\n" + key.Key + "\r\n",
		} {
			w := dial(t, addr)
			w.send(text)
			w.receive("POST")
			_ = w.conn.Close()
		}
	}
}
