package auth_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"keygate/migrations"
	"keygate/proxy/apikey"
	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/proxy/auth/memstore"
	"keygate/proxy/auth/redisstore"
	"keygate/proxy/auth/sqlitesource"
	"keygate/shared/database"
	"keygate/shared/trust"
	"keygate/tests/servers"
)

// truth is the database of keys: a real SQLite file with a change log.
type truth struct {
	*database.DB
	path string
}

func newTruth(tb testing.TB) *truth {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "keys.db")
	url, err := database.Parse("sqlite:" + path)
	if err != nil {
		tb.Fatal(err)
	}
	db, err := database.Open(tb.Context(), url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	if _, err := migrations.Up(tb.Context(), db, migrations.Changelog, migrations.Auth); err != nil {
		tb.Fatal(err)
	}
	t := &truth{db, path}
	t.exec(tb, "insert into organizations (id, name) values ('org-1', 'One'), ('org-2', 'Two')")
	return t
}

func (t *truth) exec(tb testing.TB, query string, args ...any) {
	tb.Helper()
	if _, err := t.ExecContext(context.WithoutCancel(tb.Context()), query, args...); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
}

// testKey is a key of org-1 unless a test says otherwise.
type testKey struct {
	text   []byte
	prefix string
}

// mint makes a key that the database does not know.
func mint(tb testing.TB) testKey {
	tb.Helper()
	text, prefix, err := apikey.Mint("zap", "test")
	if err != nil {
		tb.Fatal(err)
	}
	return testKey{[]byte(text), prefix}
}

func (t *truth) insert(tb testing.TB, keys ...testKey) {
	tb.Helper()
	tx, err := t.BeginTx(tb.Context(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	for _, k := range keys {
		hash := auth.HashKey(auth.SHA256, nil, k.text)
		authtest.Exec(tb, tx, "insert into api_keys (org_id, prefix, key_hash) values ('org-1', $1, $2)", k.prefix, hash[:])
	}
	if err := tx.Commit(); err != nil {
		tb.Fatal(err)
	}
}

func (t *truth) create(tb testing.TB) testKey {
	tb.Helper()
	k := mint(tb)
	t.insert(tb, k)
	return k
}

func (t *truth) revoke(tb testing.TB, k testKey) {
	tb.Helper()
	t.exec(tb, "update api_keys set enabled = 0 where prefix = $1", k.prefix)
}

// proxy is a resolver over real tiers, with a place to stop or fail at each call between them.
type proxy struct {
	*auth.Resolver
	cache  *redisstore.Cache // nil without Redis
	heard  *authtest.Listener
	hooks  *hooks
	source *hookedSource
	memory *memstore.Store
	truth  *truth
	series *prometheus.Registry
	asked  atomic.Int64
}

// settings of a proxy. Zero values are those of production, but for a Redis deadline that a busy machine keeps.
type settings struct {
	truth        *truth
	redis        *servers.RedisServer
	id           string
	redisTimeout time.Duration
	follow       bool // the change log
	broken       bool // the source is down
	secrets      *trust.Secrets
	change       func(*auth.Config)
}

func newProxy(tb testing.TB, s settings) *proxy {
	tb.Helper()
	source := sqlitesource.New(sqlitesource.Config{Path: s.truth.path, Logger: quiet()})
	tb.Cleanup(source.Close)
	p := &proxy{truth: s.truth, series: prometheus.NewRegistry(), hooks: &hooks{armed: make(map[string]*stop)}}
	p.source = &hookedSource{Source: source, hooks: p.hooks}
	p.source.down.Store(s.broken)
	p.memory = newMemory(tb, 16<<20)
	cfg := auth.Config{
		Memory: p.memory, Negative: newMemory(tb, 1<<20), Source: p.source,
		CacheTTL: 30 * time.Second, SharedTTL: 5 * time.Minute, NegativeTTL: 5 * time.Second, StaleIfError: 10 * time.Minute,
		SourceRate: 1000, SourceConcurrency: 16, Logger: quiet(), Metrics: auth.NewMetrics(p.series),
	}
	if s.change != nil {
		s.change(&cfg)
	}
	if s.redis != nil {
		p.cache = openCache(tb, s, cfg)
		cfg.Cache = &hookedCache{p.cache, p.hooks}
	}
	p.Resolver = auth.New(cfg)
	tb.Cleanup(p.Resolver.Close)
	runs(tb, p.Resolver.Run)
	authtest.Eventually(tb, "first question to the source", func() bool { return p.source.queries.Load() > 0 })
	if s.follow {
		log := authtest.Listen(tb, relay{source.Follower(), p.Changed})
		log.Await(tb, 0, auth.Demote, "")
	}
	if s.redis != nil {
		p.heard = authtest.Listen(tb, relay{p.cache, p.Heard})
		p.heard.Await(tb, 0, auth.Demote, "")
	}
	return p
}

func openCache(tb testing.TB, s settings, cfg auth.Config) *redisstore.Cache {
	tb.Helper()
	if s.redisTimeout == 0 {
		s.redisTimeout = 5 * time.Second
	}
	cache, err := redisstore.New(redisstore.Config{
		URL: s.redis.URL(), KeyPrefix: redisstore.DefaultKeyPrefix, RedisTTL: cfg.SharedTTL, StaleIfError: cfg.StaleIfError,
		Timeout: s.redisTimeout, ProxyID: "proxy-" + s.id, Alive: 33 * time.Second, Secrets: s.secrets,
		Logger: quiet(), Metrics: redisstore.NewMetrics(prometheus.NewRegistry()),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = cache.Close() })
	return cache
}

func newMemory(tb testing.TB, size int) *memstore.Store {
	tb.Helper()
	m, err := memstore.Open(memstore.Config{MaxBytes: size, Forget: time.Hour})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = m.Close() })
	return m
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// runs runs until the test ends.
func runs(tb testing.TB, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = run(ctx) })
	tb.Cleanup(func() { cancel(); wg.Wait() })
}

// relay lets a resolver hear what a listener hears, before the listener does.
type relay struct {
	auth.Changes
	to func(auth.Change)
}

func (r relay) Run(ctx context.Context, deliver func(auth.Change)) error {
	return r.Changes.Run(ctx, func(c auth.Change) { r.to(c); deliver(c) })
}

// operator returns a client such as redis-cli.
func operator(tb testing.TB, server *servers.RedisServer) *redis.Client {
	tb.Helper()
	opts, err := redis.ParseURL(server.URL())
	if err != nil {
		tb.Fatal(err)
	}
	opts.Protocol, opts.DisableIdentity = 2, true
	c := redis.NewClient(opts)
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

func command(tb testing.TB, c *redis.Client, args ...any) {
	tb.Helper()
	if err := c.Do(context.WithoutCancel(tb.Context()), args...).Err(); err != nil && !errors.Is(err, redis.Nil) {
		tb.Fatalf("%v: %v", args, err)
	}
}

// del is what the operators know.
func del(tb testing.TB, c *redis.Client, k testKey) {
	tb.Helper()
	command(tb, c, "del", redisstore.DefaultKeyPrefix+k.prefix)
}

// settle waits until the proxies have heard of everything that was written to Redis before.
func settle(tb testing.TB, c *redis.Client, proxies ...*proxy) {
	tb.Helper()
	marks := make([]int, len(proxies))
	for i, p := range proxies {
		marks[i] = p.heard.Mark()
	}
	marker := mint(tb).prefix
	command(tb, c, "set", redisstore.DefaultKeyPrefix+marker, "a marker", "px", 60_000)
	for i, p := range proxies {
		p.heard.Await(tb, marks[i], auth.Look, marker)
	}
}

// waiting is a context that tells when somebody waits for a flight with it: by then it has been joined.
type waiting struct {
	context.Context
	once   sync.Once
	joined chan struct{}
}

func newWaiting(ctx context.Context) *waiting {
	return &waiting{Context: ctx, joined: make(chan struct{})}
}

func (w *waiting) Done() <-chan struct{} {
	w.once.Do(func() { close(w.joined) })
	return w.Context.Done()
}

// Resolve asks from nowhere: nobody is charged. Every other time it first asks for what memory can tell, as event loops do.
func (p *proxy) Resolve(ctx context.Context, key []byte) auth.Decision {
	if p.asked.Add(1)%2 == 0 {
		if d, known := p.Recall(key, time.Now()); known {
			return d
		}
	}
	return p.Resolver.Resolve(ctx, key, netip.Addr{})
}

// resolving is a Resolve under way.
type resolving struct {
	joined  chan struct{} // closed once it waits for a flight; never if memory answers
	decided chan auth.Decision
}

func (p *proxy) resolve(tb testing.TB, k testKey) resolving {
	ctx := newWaiting(tb.Context())
	r := resolving{ctx.joined, make(chan auth.Decision, 1)}
	go func() { r.decided <- p.Resolve(ctx, k.text) }()
	return r
}

// settled asks until somebody could be asked. Being told "unknown" for a while is never wrong.
func (p *proxy) settled(tb testing.TB, k testKey) auth.Decision {
	tb.Helper()
	for began := time.Now(); ; {
		d := p.Resolve(tb.Context(), k.text)
		if d.Outcome() != auth.Unknown || time.Since(began) > authtest.Patience {
			return d
		}
	}
}

func expect(tb testing.TB, what string, d auth.Decision, want auth.Reason) {
	tb.Helper()
	if d.Reason != want {
		tb.Errorf("%s: %v, want %v", what, d.Reason, want)
	}
}
