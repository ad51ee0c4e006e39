package redisstore_test

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/proxy/auth/redisstore"
	"keygate/shared/trust"
	"keygate/tests/servers"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const secret = "a secret of at least sixteen bytes"

// config returns the configuration of a proxy of the fleet that shares the server at url.
func config(tb testing.TB, url, proxy, secret string) redisstore.Config {
	tb.Helper()
	secrets, err := trust.Parse(secret)
	if err != nil {
		tb.Fatal(err)
	}
	return redisstore.Config{
		URL: url, KeyPrefix: redisstore.DefaultKeyPrefix,
		RedisTTL: 5 * time.Minute, StaleIfError: 10 * time.Minute,
		Timeout: 5 * time.Second, // a busy machine is no outage
		ProxyID: proxy, Alive: 33 * time.Second, Secrets: secrets,
		Logger:  slog.New(slog.NewTextHandler(io.Discard, nil)),
		Metrics: redisstore.NewMetrics(prometheus.NewRegistry()),
	}
}

func open(tb testing.TB, cfg redisstore.Config) *redisstore.Cache {
	tb.Helper()
	c, err := redisstore.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// connect returns a client such as an operator or an attacker has.
func connect(tb testing.TB, url string) *redis.Client {
	tb.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		tb.Fatal(err)
	}
	opts.Protocol, opts.DisableIdentity = 2, true
	c := redis.NewClient(opts)
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

func do(tb testing.TB, c *redis.Client, args ...any) any {
	tb.Helper()
	got, err := c.Do(context.Background(), args...).Result()
	if err != nil {
		tb.Fatalf("%v: %v", args, err)
	}
	return got
}

func TestCacheKeepsItsContract(t *testing.T) {
	for name, secret := range map[string]string{"without a secret": "", "with a secret": secret} {
		t.Run(name, func(t *testing.T) {
			server := servers.StartRedis(t)
			operator := connect(t, server.URL())
			authtest.TestCache(t, func(t *testing.T) authtest.CacheFixture {
				do(t, operator, "flushall")
				return authtest.CacheFixture{
					Cache: open(t, config(t, server.URL(), "a", secret)),
					Stale: 10 * time.Minute,
					Del:   func(prefix string) { do(t, operator, "del", "org:prefix:"+prefix) },
					Spoil: func(prefix string) {
						value := do(t, operator, "get", "org:prefix:"+prefix).(string)
						spoilt := strings.Replace(value, `"alg":"sha256"`, `"alg":"sha255"`, 1)
						if secret != "" {
							spoilt = strings.Replace(value, `"enabled":false`, `"enabled":true`, 1)
						}
						do(t, operator, "set", "org:prefix:"+prefix, spoilt, "keepttl")
					},
					Occupy: func(prefix string) {
						do(t, operator, "set", "org:prefix:"+prefix, `{"id": "0198c0de", "hash": "ab"}`)
					},
					Left: func(prefix string) time.Duration {
						return time.Duration(do(t, operator, "pttl", "org:prefix:"+prefix).(int64)) * time.Millisecond
					},
				}
			})
		})
	}
}

func TestAValueOfAnotherTypeIsForeign(t *testing.T) {
	server := servers.StartRedis(t)
	c := open(t, config(t, server.URL(), "a", ""))
	do(t, connect(t, server.URL()), "hset", "org:prefix:p", "a", "b")
	got, err := c.Get(t.Context(), "p")
	leased, err2 := c.Lease(t.Context(), "p")
	if err != nil || err2 != nil || got.State != auth.Foreign || leased.State != auth.Foreign {
		t.Errorf("states %d and %d, %v, %v", got.State, leased.State, err, err2)
	}
	stored, err := c.Store(t.Context(), "p", "", authtest.NewRecord(1))
	released, err2 := c.Release(t.Context(), "p", "x")
	if stored || released || err != nil || err2 != nil {
		t.Errorf("stored: %v, released: %v, %v, %v", stored, released, err, err2)
	}
}

func TestAFloorThatIsNoNumberMakesReadingFail(t *testing.T) {
	server := servers.StartRedis(t)
	c := open(t, config(t, server.URL(), "a", ""))
	do(t, connect(t, server.URL()), "set", "keygate:floor", "soon")
	if got, err := c.Get(t.Context(), "p"); err == nil {
		t.Errorf("%+v", got)
	}
	if got, err := c.Lease(t.Context(), "p"); err == nil {
		t.Errorf("%+v", got)
	}
}
