package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"keygate/tests/servers"
)

// The secrets that people give to the programs. The trust secret is trustSecret.
const (
	canaryToken    = "canary-of-the-admin-token"
	canaryPassword = "canary-of-a-password"
	canaryPepper   = "canary-of-the-pepper"
)

// spelled are the ways in which a secret could come to light.
func spelled(secret string) []string {
	hash := sha256.Sum256([]byte(secret))
	return []string{secret, url.QueryEscape(secret), hex.EncodeToString([]byte(secret)),
		base64.StdEncoding.EncodeToString([]byte(secret)), hex.EncodeToString(hash[:]), fmt.Sprint(hash[:])}
}

// keeps wants none of the secrets in a text.
func keeps(tb testing.TB, who, text string, secrets ...string) {
	tb.Helper()
	for _, secret := range append(secrets, canaryToken, canaryPassword, canaryPepper, trustSecret) {
		for _, spelling := range spelled(secret) {
			if at := strings.Index(text, spelling); at >= 0 {
				tb.Errorf("%s shows %q: …%q…", who, spelling, text[max(0, at-200):min(len(text), at+len(spelling)+50)])
			}
		}
	}
}

// pages is all that an admin listener shows, and what it answers to mistakes.
func pages(tb testing.TB, admin string, key apiKey) string {
	tb.Helper()
	web, token := newClient(tb), "Bearer "+canaryToken
	var all strings.Builder
	for _, path := range []string{"/", "/healthz", "/readyz", "/metrics", "/version", "/v1/stats", "/v1/cache/keys/" + key.Prefix, "/v1/cache/keys/" + key.Key,
		"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=1", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1",
		"/debug/pprof/heap", "/debug/pprof/allocs?debug=1", "/debug/pprof/block?debug=1", "/debug/pprof/mutex?debug=1", "/" + key.Key} {
		fmt.Fprintln(&all, path[:strings.LastIndexByte(path, '/')], web.get(admin+path, "Authorization", token))
	}
	fmt.Fprintln(&all, web.get(admin+"/v1/stats", "Authorization", "Bearer "+key.Key))
	fmt.Fprintln(&all, web.do(http.MethodDelete, admin+"/v1/cache/keys/"+key.Key, "", "Authorization", token))
	for _, body := range []string{`{"prefixes":["` + key.Key + `"]}`, `{"org_id":"` + key.Key + `"}`, `{"` + key.Key + `":1}`, key.Key} {
		fmt.Fprintln(&all, web.do(http.MethodPost, admin+"/v1/cache/invalidate", body, "Authorization", token, "Content-Type", "application/json"))
	}
	return all.String()
}

func TestNoSecretIsEverShown(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	withPassword, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	withPassword.User = url.UserPassword("keygate", canaryPassword)
	s.redisCommand(t, "CONFIG", "SET", "requirepass", canaryPassword)
	redisURL := "redis://:" + canaryPassword + "@" + s.redis.Addr() + "/0"
	secrets := []string{"TRUST_SECRET=" + trustSecret, "ADMIN_TOKEN=" + canaryToken, "LOG_LEVEL=debug",
		"PROXY_KEY_HASH=hmac-sha256", "PROXY_KEY_PEPPER=" + canaryPepper}
	s.env = append(secrets, "DATABASE_URL="+withPassword.String(), "REDIS_URL="+redisURL)
	writer, proxy := s.writer(), s.proxy("http://"+servers.FreeAddr(t))
	proxy.stop(syscall.SIGTERM)
	proxy = s.proxy(writer.url, "--timing")
	// Passwords may also stand in arguments, which everybody on the machine may read, but no page need repeat.
	byArgument := serve(t, proxyProgram, secrets, "--upstream", writer.url, "--database-url", withPassword.String(), "--redis-url", redisURL).ready()
	key := s.createKey("acme")
	all := []string{key.Key, key.Key[len(key.Prefix)+1:]}
	keeps(t, "an answer", sendSecrets(t, []string{proxy.addr, writer.addr, byArgument.addr}, key), all...)
	for _, at := range []*service{proxy, writer, byArgument} {
		keeps(t, "a page of "+filepath.Base(at.cmd.Path), pages(t, at.admin, key), all...)
	}
	explained := run(t, launch{program: proxyProgram, args: []string{"explain", key.Prefix, "--admin-url", proxy.admin}, env: s.env})
	keeps(t, "explain", explained, all...)
	keeps(t, "keys list", run(t, s.keys("list")), all...)

	// What goes wrong is what gets logged.
	s.redis.Stop()
	keeps(t, "an answer without Redis", sendSecrets(t, []string{proxy.addr}, key), all...)
	writer.stop(syscall.SIGTERM)
	keeps(t, "an answer without the writer", sendSecrets(t, []string{proxy.addr}, key), all...)
	byArgument.signal(syscall.SIGQUIT) // which has the runtime print every stack, as a panic does
	if code := byArgument.exitCode(); code != 2 || !strings.Contains(byArgument.output(), "goroutine ") {
		t.Errorf("after SIGQUIT it ended with %d", code)
	}
	proxy.stop(syscall.SIGTERM)
	for _, at := range []*service{proxy, writer, byArgument} {
		keeps(t, "the log of "+filepath.Base(at.cmd.Path), at.output(), all...)
	}
}

func TestWhatIsOutOfReachIsNamedWithoutItsPassword(t *testing.T) {
	t.Parallel()
	closed := servers.FreeAddr(t)
	gone := []string{"DATABASE_URL=postgres://keygate:" + canaryPassword + "@" + closed + "/keygate",
		"REDIS_URL=redis://:" + canaryPassword + "@" + closed + "/0", "TRUST_SECRET=" + trustSecret, "LOG_LEVEL=debug"}
	for _, program := range []string{proxyProgram, writerProgram} {
		lost := serve(t, program, gone)
		eventually(t, "the "+program+" to complain", func() bool { return strings.Contains(lost.stderr.String(), "WARN") })
		lost.stop(syscall.SIGTERM)
		keeps(t, program, lost.output())
	}
	refusing := servers.StartRedis(t)
	s := newEdge(t)
	w := dial(t, refusing.Addr())
	w.send("CONFIG SET requirepass another\r\n")
	if line, err := readLine(w.reader); err != nil || line != "+OK" {
		t.Fatal(line, err)
	}
	strange := serve(t, proxyProgram, append(s.env, "REDIS_URL=redis://:"+canaryPassword+"@"+refusing.Addr()+"/0", "LOG_LEVEL=debug"))
	eventually(t, "Redis to refuse the password", func() bool { return strings.Contains(strange.stderr.String(), "WARN") })
	strange.stop(syscall.SIGTERM)
	keeps(t, "a proxy with a wrong password", strange.output())
	for _, args := range [][]string{{"migrate", "up"}, {"migrate", "status"}, {"keys", "list"}, {"keys", "create", "--org-name", "acme"}} {
		keeps(t, strings.Join(args, " "), runFailing(t, launch{program: proxyProgram, args: args, env: gone}))
	}
}

func TestAProgramThatDoesNotStartSaysWhyWithoutTheSecret(t *testing.T) {
	t.Parallel()
	const p = canaryPassword
	for _, env := range []string{"TRUST_SECRET=" + canaryToken[:15], "TRUST_SECRET=" + trustSecret + ",short", "ADMIN_TOKEN=" + canaryToken[:15],
		"DATABASE_URL=postgres://k:" + p + "@%zz/", "DATABASE_URL=postgres//k:" + p + "@h/d", "DATABASE_URL=" + p, "DATABASE_URL=mysql://k:" + p + "@h/d",
		"DATABASE_URL=postgres://k:" + p + "@h:port/d", "DATABASE_URL=postgres://k:" + p + "@h/d?sslmode=" + p} {
		for _, program := range []string{proxyProgram, writerProgram} {
			line := runFailing(t, launch{program: program, args: []string{"serve"}, env: []string{"DATABASE_URL=sqlite:keys", env}})
			keeps(t, program+" with "+env[:5]+"…", line, canaryToken[:15])
		}
	}
	for _, flag := range []string{"--redis-url=redis://:" + p + "@h:port/0", "--redis-url=" + p, "--redis-url=http://:" + p + "@h", "--redis-url=redis://:" + p + "@%zz/0",
		"--redis-url=redis://:" + p + "@h/zero", "--upstream=http://u:" + p + "@h", "--upstream=http://u:" + p + "@h/path", "--upstream=u:" + p + "@h",
		"--route=/v1=http://u:" + p + "@h", "--route=v1=http://u:" + p + "@h", "--route=http://u:" + p + "@h"} {
		line := runFailing(t, launch{program: proxyProgram, args: []string{"serve", flag}, env: []string{"DATABASE_URL=sqlite:keys"}})
		keeps(t, flag[:8]+"…", line)
	}
}

// The demo key is printed, because that is what it is for. Nothing else is.
func TestStandaloneShowsNoSecretButTheDemoKey(t *testing.T) {
	t.Parallel()
	s := newStandalone(t, t.TempDir(), "ADMIN_TOKEN="+canaryToken, "LOG_LEVEL=debug", "PROXY_KEY_HASH=hmac-sha256", "PROXY_KEY_PEPPER="+canaryPepper).start(t)
	made, err := os.ReadFile(filepath.Join(s.dir, "data", "trust-secret"))
	if err != nil {
		t.Fatal(err)
	}
	text := keyPattern.FindString(s.stdout.String())
	key := apiKey{Key: text, Prefix: text[:strings.LastIndexByte(text, '_')]}
	all := []string{key.Key, key.Key[len(key.Prefix)+1:], strings.TrimSpace(string(made))}
	keeps(t, "an answer", sendSecrets(t, []string{s.proxy, s.writer}, key), all...)
	for _, admin := range []string{s.proxyAdmin, s.writerAdmin} {
		keeps(t, "a page", pages(t, "http://"+admin, key), all...)
	}
	s.stop(syscall.SIGTERM)
	keeps(t, "the log", s.stderr.String(), all...)
	keeps(t, "the greeting", s.stdout.String(), all[2])
}

// sendSecrets puts a key wherever a client could, in requests that are right and wrong, and returns what is answered.
func sendSecrets(t *testing.T, addrs []string, key apiKey) string {
	t.Helper()
	event := fmt.Sprintf(`{"type":"a","dedup_id":%q,"payload":{%q:%q}}`, key.Key, key.Key, key.Key)
	const host = "Host: api.example.com\r\n"
	var answers strings.Builder
	for _, addr := range addrs {
		for _, text := range []string{
			request("POST", "/v1/events", event, "X-API-Key: "+key.Key),
			request("POST", "/v1/events", event+" ", "X-API-Key: "+key.Key, "Idempotency-Key: "+key.Key),
			request("POST", "/v1/events", event, "X-API-Key: "+key.Key, "X-Request-Id: "+key.Key),
			request("POST", "/v1/events?key="+key.Key, event, "Authorization: Bearer "+key.Key),
			request("POST", "/v1/events", `{"type":"a","payload":{"x":"`+key.Key+`\u0000"}}`, "X-API-Key: "+key.Key),
			request("POST", "/v1/events", key.Key, "X-API-Key: "+key.Key),
			request("POST", "/v1/events", event, "X-API-Key: "+key.Key, "Content-Type: "+key.Key),
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
			"GET / HTTP/1.1\r\nHost: " + key.Key + "@\r\n\r\n",
			"GET / HTTP/1.1\r\n" + host + strings.Repeat("X-API-Key: "+key.Key+"\r\n", 2000) + "\r\n",
			"POST /v1/events HTTP/1.1\r\n" + host + "X-API-Key: " + key.Key + "\r\nTransfer-Encoding: chunked\r\n\r\n" + key.Key + "\r\n",
			"POST /v1/events HTTP/1.1\r\n" + host + "X-API-Key: " + key.Key + "\r\nContent-Length: " + key.Key + "\r\n\r\n",
		} {
			w := dial(t, addr)
			w.send(text)
			if got := w.receive("POST"); !strings.Contains(text, "X-Request-Id: ") { // which is the client's own, and given back
				fmt.Fprintln(&answers, got, got.header)
			}
			_ = w.conn.Close()
		}
	}
	return answers.String()
}
