// Package config holds every knob of the proxy, what it is without being turned, and which settings do not go together.
package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/proxy/apikey"
	"keygate/proxy/auth"
	"keygate/proxy/header"
	"keygate/proxy/identity"
	"keygate/shared/database"
	"keygate/shared/flags"
	"keygate/shared/limit"
	"keygate/shared/trust"
)

// Config is the proxy's settings. Default gives all of them a value; the flags say what each means.
type Config struct {
	Listen       string
	ReusePort    bool
	TLS          TLS
	AdminListen  string
	VerifyListen string // "": none
	Log          Log

	Upstream Upstream
	Keys     Keys
	Redis    Redis
	Cache    Cache
	Source   Source
	Clients  Clients

	TrustSecret string
	AdminToken  string
	DrainDelay  time.Duration
	Timing      bool
}

// TLS is the certificate of the edge listener, none if both are empty.
type TLS struct{ Cert, Key string }

// Log is how the program logs.
type Log struct{ Level, Format string }

// Upstream is where requests go.
type Upstream struct {
	URLs            []string
	Routes          []string // PREFIX=URL
	Idempotent      []string // raw path prefixes
	ConnectTimeout  time.Duration
	ResponseTimeout time.Duration
	IdleTimeout     time.Duration

	Local fasthttp.RequestHandler // see package forward; no flag sets it
}

// Keys is what keys look like and where their truth is.
type Keys struct {
	DatabaseURL       string
	ListenDatabaseURL string
	Query             string
	PrefixLength      int
	Hash              string
	Pepper            string
}

// Redis is the shared cache.
type Redis struct {
	URL       string
	KeyPrefix string
	TTL       time.Duration
}

// Cache is the memory of one proxy.
type Cache struct {
	TTL          time.Duration
	Size         int // bytes
	NegativeTTL  time.Duration
	StaleIfError time.Duration
}

// Source bounds what the database is asked.
type Source struct {
	Rate        int // look-ups a second
	Concurrency int
}

// Clients is what clients may do, and what is told of them.
type Clients struct {
	Credentials     []string
	KeepCredential  bool
	PublicPaths     []string
	PublicPreflight bool
	OrgHeader       string
	TrustedHops     int
	MaxConnections  int // 0: as many as there are file descriptors for
	MaxPerAddress   int // connections; 0: no limit
	MaxBody         int // bytes; 0: no limit
	HeaderTimeout   time.Duration
	IdleTimeout     time.Duration
}

// Default returns the settings of a proxy that nobody configured.
func Default() Config {
	return Config{
		Listen:      ":8080",
		AdminListen: "127.0.0.1:9080",
		Log:         Log{Level: "info", Format: "text"},
		Upstream: Upstream{
			URLs: []string{"http://127.0.0.1:8081"}, ConnectTimeout: time.Second,
			ResponseTimeout: 30 * time.Second, IdleTimeout: 60 * time.Second,
		},
		Keys:   Keys{Hash: "sha256"},
		Redis:  Redis{KeyPrefix: "org:prefix:", TTL: 5 * time.Minute},
		Cache:  Cache{TTL: 30 * time.Second, Size: 256 << 20, NegativeTTL: 5 * time.Second, StaleIfError: 10 * time.Minute},
		Source: Source{Rate: 1000, Concurrency: 16},
		Clients: Clients{
			Credentials: []string{"bearer", "x-api-key"}, OrgHeader: identity.DefaultOrgHeader,
			HeaderTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second,
		},
	}
}

// Flags declares every setting.
func (c *Config) Flags(set *flags.Set) {
	set.Section("Listeners")
	set.String("listen", &c.Listen, "serve clients on this host:port or unix:PATH")
	set.Bool("reuse-port", &c.ReusePort,
		"let other proxies of this user listen on the same host:port (SO_REUSEPORT), each with an --admin-listen of its own: "+
			"one for each core, started with GOMAXPROCS=1, serve some more than one for all cores")
	set.String("tls-cert", &c.TLS.Cert,
		"serve clients by HTTPS alone (TLS 1.2 or later) with the certificate and its chain in this PEM file; it is read again "+
			"once it changes")
	set.String("tls-key", &c.TLS.Key, "the PEM file with the private key of --tls-cert")
	set.String("admin-listen", &c.AdminListen, "serve health, metrics and invalidation on this host:port or unix:PATH")
	set.Secret("admin-token", &c.AdminToken, "callers of the admin listener must present this as bearer token")
	set.String("verify-listen", &c.VerifyListen,
		"on this host:port or unix:PATH, answer proxies that forward themselves (nginx auth_request, Caddy forward_auth, "+
			"Traefik ForwardAuth, Envoy ext_authz) who is calling; --public-path and --public-preflight do not apply there; "+
			"empty: do not")
	c.Upstream.flags(set)
	c.Keys.flags(set)
	c.Redis.flags(set)
	c.Cache.flags(set)
	c.Source.flags(set)
	c.Clients.flags(set)
	set.Section("Everything else")
	set.Secret("trust-secret", &c.TrustSecret,
		"sign what the upstream is told, and seal records in Redis; two, separated by a comma, while one replaces the other")
	set.Duration("drain-delay", &c.DrainDelay, "on SIGTERM, go on serving for this long before closing the listener")
	set.Bool("timing", &c.Timing, "answer with Server-Timing and X-Process-Time")
	set.String("log-level", &c.Log.Level, "debug, info, warn or error")
	set.String("log-format", &c.Log.Format, "text or json")
}

func (u *Upstream) flags(set *flags.Set) {
	set.Section("Upstream")
	set.Strings("upstream", &u.URLs, "forward to http://HOST:PORT, https://HOST or unix:PATH; several are balanced")
	set.Strings("route", &u.Routes, "forward paths that begin with PREFIX elsewhere, as PREFIX=URL; the longest wins")
	set.Strings("upstream-idempotent", &u.Idempotent,
		"ask once more after a reset or 503 under this path prefix, with the same id; / is all, our writer can be asked so")
	set.Duration("connect-timeout", &u.ConnectTimeout, "give up connecting after this long")
	set.Duration("response-timeout", &u.ResponseTimeout, "wait this long for the header of the answer")
}

func (k *Keys) flags(set *flags.Set) {
	set.Section("Keys")
	set.String("database-url", &k.DatabaseURL, "where keys are kept: postgres://… or sqlite:PATH")
	set.String("listen-database-url", &k.ListenDatabaseURL,
		"for the change log, where --database-url goes through a pooler that cannot LISTEN")
	set.String("key-query", &k.Query,
		"read keys of an existing table: one SELECT with $1 = prefix giving org_id, key_hash and optionally enabled, "+
			"org_enabled, expires_at, hash_alg")
	set.Int("key-prefix-length", &k.PrefixLength,
		"the first this many bytes of a key are its prefix; 0 is keygate's own format")
	set.String("key-hash", &k.Hash, "how keys are hashed unless hash_alg says: sha256 or hmac-sha256")
	set.Secret("key-pepper", &k.Pepper, "the key of hmac-sha256")
}

func (r *Redis) flags(set *flags.Set) {
	set.Section("Redis")
	set.String("redis-url", &r.URL, "share looked-up keys among proxies: redis://… or rediss://…; empty: do not")
	set.String("redis-key-prefix", &r.KeyPrefix, "a record's key in Redis is this and the key's prefix")
	set.Duration("redis-ttl", &r.TTL, "a record is fresh for this long after the database was read")
}

func (c *Cache) flags(set *flags.Set) {
	set.Section("Memory")
	set.Duration("cache-ttl", &c.TTL, "a copy in memory is fresh for this long")
	set.Bytes("cache-size", &c.Size, "the memory that copies may take; a million keys take 130 MiB, and 40 more to find them")
	set.Duration("negative-ttl", &c.NegativeTTL, "remember for this long that a key does not exist")
	set.Duration("stale-if-error", &c.StaleIfError,
		"with the database out of reach, known keys keep working for this long after it was read; 0: not at all")
}

func (s *Source) flags(set *flags.Set) {
	set.Section("Database load")
	set.Int("source-rate", &s.Rate, "look up at most this many keys a second")
	set.Int("source-concurrency", &s.Concurrency, "look up at most this many keys at once")
}

func (c *Clients) flags(set *flags.Set) {
	set.Section("Clients")
	set.Strings("credential", &c.Credentials, "where keys are looked for: bearer, x-api-key")
	set.Bool("keep-credential", &c.KeepCredential, "forward the client's key to the upstream")
	set.Strings("public-path", &c.PublicPaths, "let requests under this raw path prefix through without a key")
	set.Bool("public-preflight", &c.PublicPreflight, "let CORS preflight requests through without a key")
	set.String("org-header", &c.OrgHeader, "the header that tells the upstream the organization")
	set.Int("trusted-hops", &c.TrustedHops,
		"this many proxies stand in front of this one, and what they say in X-Forwarded-For, -Host and -Proto is believed; "+
			"0: clients connect directly, and what they say there is dropped")
	set.Int("max-connections", &c.MaxConnections,
		"refuse clients beyond this many connections with 503, or with TLS by closing; 0: a half of the files that the "+
			"process may open, with several upstreams or in standalone a third, less some for itself, and at most 65536")
	set.Int("max-connections-per-address", &c.MaxPerAddress,
		"refuse an address, or an IPv6 network of 64 bits, beyond this many connections; 0: no limit; behind a load "+
			"balancer the address is the balancer's, whatever --trusted-hops says")
	set.Bytes("max-body", &c.MaxBody, "the largest request body; 0: no limit")
	set.Duration("header-timeout", &c.HeaderTimeout, "a request's header must arrive within this time")
	set.Duration("idle-timeout", &c.IdleTimeout, "close connections that were idle for this long")
}

// Connections is how many files a client's connection may have this process open to upstreams: one, and where there are
// several upstreams another that is idle, or where the upstream is in this process that one's other end.
func (u *Upstream) Connections() int {
	if u.Local != nil || len(u.URLs)+len(u.Routes) > 1 {
		return 2
	}
	return 1
}

// MaxConnections is how many clients may be connected at once. More than there are files for is an error.
func (c *Config) MaxConnections() (int, error) {
	return limit.Total(c.Clients.MaxConnections, c.Upstream.Connections())
}

// Validate says what is wrong with the settings, in a sentence for each.
func (c *Config) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Keys.DatabaseURL == "" {
		wrong("--database-url is missing: say where keys are kept, as postgres://… or sqlite:PATH")
	} else if _, err := database.Parse(c.Keys.DatabaseURL); err != nil {
		errs = append(errs, err)
	}
	if n := c.Keys.PrefixLength; n != 0 && (n < apikey.MinForeignPrefix || n > apikey.MaxLength) {
		wrong("--key-prefix-length must be 0 or %d to %d", apikey.MinForeignPrefix, apikey.MaxLength)
	}
	if alg, err := auth.ParseAlg(c.Keys.Hash); err != nil {
		wrong("--key-hash: %w", err)
	} else if alg == auth.HMACSHA256 && c.Keys.Pepper == "" {
		wrong("--key-hash hmac-sha256 needs a pepper: give --key-pepper-file")
	}
	if _, err := identity.ParseCarriers(c.Clients.Credentials); err != nil {
		errs = append(errs, err)
	}
	if !header.IsToken([]byte(c.Clients.OrgHeader)) {
		wrong("--org-header %q is not a header name", c.Clients.OrgHeader)
	}
	if c.ReusePort && strings.HasPrefix(c.Listen, "unix:") {
		wrong("--reuse-port needs a host:port to --listen on: a Unix socket has one listener")
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		wrong("--tls-cert and --tls-key belong together: give both or neither")
	}
	if _, err := c.MaxConnections(); err != nil {
		wrong("--max-connections: %w", err)
	}
	if c.Clients.TrustedHops > identity.MaxTrustedHops {
		wrong("--trusted-hops must be at most %d", identity.MaxTrustedHops)
	}
	for _, path := range slices.Concat(c.Clients.PublicPaths, c.Upstream.Idempotent) {
		if !strings.HasPrefix(path, "/") {
			wrong("the path prefix %q must begin with /", path)
		}
	}
	if _, err := trust.Parse(c.TrustSecret); err != nil {
		errs = append(errs, err)
	}
	if c.Source.Rate < 1 || c.Source.Concurrency < 1 {
		wrong("--source-rate and --source-concurrency must be at least 1")
	}
	if c.Cache.TTL < time.Second || c.Redis.TTL < time.Second {
		wrong("--cache-ttl and --redis-ttl must be at least 1s")
	}
	return errors.Join(errs...)
}
