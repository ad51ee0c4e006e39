package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/valyala/fasthttp"

	"keygate/proxy/config"
	"keygate/shared/flags"
)

func valid() config.Config {
	cfg := config.Default()
	cfg.Keys.DatabaseURL = "postgres://keygate@127.0.0.1/keygate"
	return cfg
}

func TestDefaultsAreValidOnceTheDatabaseIsKnown(t *testing.T) {
	cfg := valid()
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidateSaysWhatIsWrong(t *testing.T) {
	f := func(want string, change func(*config.Config)) {
		t.Helper()
		cfg := valid()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("--database-url is missing", func(c *config.Config) { c.Keys.DatabaseURL = "" })
	f("unusable database URL", func(c *config.Config) { c.Keys.DatabaseURL = "mysql://x" })
	f("--key-prefix-length", func(c *config.Config) { c.Keys.PrefixLength = 7 })
	f("--key-prefix-length", func(c *config.Config) { c.Keys.PrefixLength = 513 })
	f("--key-hash", func(c *config.Config) { c.Keys.Hash = "bcrypt" })
	f("--key-pepper-file", func(c *config.Config) { c.Keys.Hash = "hmac-sha256" })
	f("--credential", func(c *config.Config) { c.Clients.Credentials = []string{"cookie"} })
	f("--credential", func(c *config.Config) { c.Clients.Credentials = nil })
	f("--org-header", func(c *config.Config) { c.Clients.OrgHeader = "X Org" })
	f("--tls-cert and --tls-key", func(c *config.Config) { c.TLS.Cert = "cert.pem" })
	f("--tls-cert and --tls-key", func(c *config.Config) { c.TLS.Key = "key.pem" })
	f("--reuse-port", func(c *config.Config) { c.Listen, c.ReusePort = "unix:/run/keygate.sock", true })
	f("--max-connections", func(c *config.Config) { c.Clients.MaxConnections = 1 << 40 })
	f("--trusted-hops", func(c *config.Config) { c.Clients.TrustedHops = 9 })
	f("must begin with /", func(c *config.Config) { c.Clients.PublicPaths = []string{"docs"} })
	f("must begin with /", func(c *config.Config) { c.Upstream.Idempotent = []string{"*"} })
	f("at least 16 bytes", func(c *config.Config) { c.TrustSecret = "short" })
	f("--source-rate", func(c *config.Config) { c.Source.Rate = 0 })
	f("--cache-ttl", func(c *config.Config) { c.Cache.TTL = time.Millisecond })
}

// The names are a contract: scripts and unit files of others use them.
func TestFlagsAndVariablesKeepTheirNames(t *testing.T) {
	cfg := config.Default()
	set := flags.New("PROXY", "")
	cfg.Flags(set)
	got := map[string]string{}
	for _, f := range set.Flags() {
		got[f.Names()[0]] = f.(cli.DocGenerationFlag).GetEnvVars()[0]
	}
	for _, name := range strings.Fields(`listen admin-listen upstream route upstream-idempotent listen-database-url
		redis-key-prefix key-query key-prefix-length key-hash key-pepper-file credential keep-credential public-path
		public-preflight org-header cache-ttl cache-size redis-ttl negative-ttl stale-if-error source-rate source-concurrency
		max-body header-timeout idle-timeout connect-timeout response-timeout drain-delay timing trusted-hops tls-cert tls-key
		max-connections max-connections-per-address reuse-port`) {
		if want := "PROXY_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")); got[name] != want {
			t.Errorf("--%s has the variable %q", name, got[name])
		}
	}
	for name, want := range map[string]string{
		"database-url": "DATABASE_URL", "redis-url": "REDIS_URL", "log-level": "LOG_LEVEL", "log-format": "LOG_FORMAT",
	} {
		if got[name] != want {
			t.Errorf("--%s has the variable %q", name, got[name])
		}
	}
}

func TestAConnectionTakesAnotherWithSeveralUpstreamsOrOneInThisProcess(t *testing.T) {
	const one, two = "http://127.0.0.1:8081", "http://127.0.0.1:8082"
	for name, tc := range map[string]struct {
		upstream config.Upstream
		want     int
	}{
		"one upstream":    {config.Upstream{URLs: []string{one}}, 1},
		"two upstreams":   {config.Upstream{URLs: []string{one, two}}, 2},
		"one and a route": {config.Upstream{URLs: []string{one}, Routes: []string{"/v2=" + two}}, 2},
		"in this process": {config.Upstream{URLs: []string{one}, Local: func(*fasthttp.RequestCtx) {}}, 2},
	} {
		if got := tc.upstream.Connections(); got != tc.want {
			t.Errorf("%s: %d, not %d", name, got, tc.want)
		}
	}
}
