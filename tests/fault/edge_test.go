package fault

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"keygate/proxy/apikey"
	"keygate/tests/link"
	"keygate/tests/servers"
)

// ground is what proxies stand on: two servers that can be made to fail, and an API behind that says yes to everybody.
type ground struct {
	tb       testing.TB
	postgres *servers.PostgresServer
	redis    *servers.RedisServer
	url      string // of the database, for operators
	operator *redis.Client
	api      *httptest.Server
}

const redisPassword = "what-the-proxies-say"

// newGround starts the servers.
func newGround(tb testing.TB) *ground {
	tb.Helper()
	g := &ground{
		tb: tb, redis: servers.StartRedis(tb),
		postgres: servers.StartPostgres(tb, "shared_preload_libraries=pg_stat_statements"),
		api:      httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("yes")) })),
	}
	tb.Cleanup(g.api.Close)
	g.url = g.postgres.Database(tb)
	command(tb, []string{"DATABASE_URL=" + g.url}, "proxy", "migrate", "up")
	execute(tb, g.url, "create extension pg_stat_statements")
	execute(tb, g.url, "create role edge login; grant select on all tables in schema public to edge; "+
		"insert into organizations (id, name) values ('org-1', 'One')")
	opts, err := redis.ParseURL(g.redis.URL())
	if err != nil {
		tb.Fatal(err)
	}
	opts.Protocol, opts.DisableIdentity = 2, true
	g.operator = redis.NewClient(opts)
	tb.Cleanup(func() { _ = g.operator.Close() })
	g.admit(redisPassword)
	return g
}

// admit makes the proxies' user of Redis, which is the one that the documentation gives, with this password alone.
func (g *ground) admit(password string) {
	g.tb.Helper()
	page, err := os.ReadFile("../../docs/redis.md")
	if err != nil {
		g.tb.Fatal(err)
	}
	_, line, _ := strings.Cut(string(page), "\nACL SETUSER keygate on ")
	line, _, found := strings.Cut(line, "\n")
	if !found {
		g.tb.Fatal("docs/redis.md gives no ACL SETUSER")
	}
	args := []any{"acl", "setuser", "keygate", "on", "resetpass"}
	for _, word := range strings.Fields(strings.Replace(line, "PASSWORD", password, 1)) {
		args = append(args, word)
	}
	g.do(args...)
}

// do runs a command as the operators of Redis do, until it is answered.
func (g *ground) do(args ...any) any {
	g.tb.Helper()
	var got any
	var err error
	eventually(g.tb, fmt.Sprint("Redis to answer ", args[0]), func() bool {
		got, err = g.operator.Do(context.WithoutCancel(g.tb.Context()), args...).Result()
		return err == nil || err == redis.Nil
	})
	return got
}

// mint makes keys of an organisation.
func (g *ground) mint(n int) []apiKey {
	g.tb.Helper()
	keys, rows := unminted(g.tb, n), make([]string, n)
	for i, k := range keys {
		hash := sha256.Sum256([]byte(k.Key))
		rows[i] = fmt.Sprintf("('org-1', '%s', '\\x%s')", k.Prefix, hex.EncodeToString(hash[:]))
	}
	execute(g.tb, g.url, "insert into api_keys (org_id, prefix, key_hash) values "+strings.Join(rows, ", "))
	return keys
}

// unminted are keys that look like ours, and that no table has.
func unminted(tb testing.TB, n int) []apiKey {
	tb.Helper()
	keys := make([]apiKey, n)
	for i := range keys {
		text, prefix, err := apikey.Mint("zap", "test")
		if err != nil {
			tb.Fatal(err)
		}
		keys[i] = apiKey{Key: text, Prefix: prefix, OrgID: "org-1"}
	}
	return keys
}

// revoke is an update that somebody types.
func (g *ground) revoke(keys ...apiKey) {
	g.tb.Helper()
	prefixes := make([]string, len(keys))
	for i, k := range keys {
		prefixes[i] = "'" + k.Prefix + "'"
	}
	execute(g.tb, g.url, "set default_transaction_read_only = off; update api_keys set enabled = false where prefix in ("+strings.Join(prefixes, ", ")+")")
}

// lookups counts how often keys have been looked up in the database.
func (g *ground) lookups() int {
	g.tb.Helper()
	return ask(g.tb, g.url, `select coalesce(sum(calls), 0)::int from pg_stat_statements s
		where query ilike '%from api_keys k join organizations%' and query not ilike 'explain%'`)
}

// edge is a proxy with its links to the servers.
type edge struct {
	*program
	toRedis, toPostgres *link.Link
}

// newEdge starts a proxy, and does not wait for it.
func (g *ground) newEdge(args ...string) *edge {
	g.tb.Helper()
	toPostgres, linked := link.StartTo(g.tb, g.url, readyForQuery)
	e := &edge{toRedis: link.Start(g.tb, g.redis.Addr(), everyChunk), toPostgres: toPostgres}
	database, err := url.Parse(linked)
	if err != nil {
		g.tb.Fatal(err)
	}
	database.User = url.User("edge")
	env := []string{
		"DATABASE_URL=" + database.String(), "REDIS_URL=redis://keygate:" + redisPassword + "@" + e.toRedis.Addr() + "/0",
		"TRUST_SECRET=a secret that only the tests know",
	}
	e.program = newProgram(g.tb, "proxy", env, append([]string{"--upstream", g.api.URL}, args...)...)
	e.start()
	return e
}

// told is what a client is answered.
type told struct {
	status int // 0: there was no answer
	retry  string
	took   time.Duration
}

// ask presents a key.
func (e *edge) ask(web *http.Client, key string) told {
	request, err := http.NewRequest(http.MethodGet, "http://"+e.addr+"/", nil)
	if err != nil {
		e.tb.Fatal(err)
	}
	request.Header.Set("X-API-Key", key)
	began := time.Now()
	response, err := web.Do(request)
	if err != nil {
		return told{took: time.Since(began)}
	}
	response.Body.Close()
	return told{response.StatusCode, response.Header.Get("Retry-After"), time.Since(began)}
}

// degraded is what /readyz says works only in part.
func (e *edge) degraded() []string {
	var body struct{ Degraded []string }
	if !e.get("/readyz", &body) {
		return []string{"(no answer)"}
	}
	return body.Degraded
}

// get reads what the admin listener answers, if it does.
func (e *edge) get(path string, into any) bool {
	response, err := visitor.Get(e.admin + path)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(into) == nil
}

// reached is what an invalidation answers.
type reached struct {
	Invalidated, Confirmed int
	Proxies                *int
	Complete               bool
}

// invalidate calls the endpoint of a proxy.
func (e *edge) invalidate(body any) (r reached, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return r, err
	}
	response, err := visitor.Post(e.admin+"/v1/cache/invalidate", "application/json", strings.NewReader(string(text)))
	if err != nil {
		return r, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return r, fmt.Errorf("the invalidation is answered %s", response.Status)
	}
	return r, json.NewDecoder(response.Body).Decode(&r)
}
