package redisstore

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/shared/trust"
	"keygate/tests/servers"
)

func benchCache(b *testing.B, url, proxy, secret string) *Cache {
	b.Helper()
	secrets, err := trust.Parse(secret)
	if err != nil {
		b.Fatal(err)
	}
	c, err := New(Config{
		URL: url, KeyPrefix: DefaultKeyPrefix, RedisTTL: 5 * time.Minute, StaleIfError: 10 * time.Minute,
		Timeout: time.Second, ProxyID: proxy, Alive: 33 * time.Second, Secrets: secrets,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: NewMetrics(prometheus.NewRegistry()),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return c
}

func benchFill(b *testing.B, c *Cache, prefix string) {
	b.Helper()
	leased, err := c.Lease(b.Context(), prefix)
	if err != nil {
		b.Fatal(err)
	}
	rec := authtest.NewRecord(leased.Now)
	rec.Keys = rec.Keys[:1]
	if stored, err := c.Store(b.Context(), prefix, leased.Token, rec); err != nil || !stored {
		b.Fatal(stored, err)
	}
}

// BenchmarkGet compares Get with the bare ways to read a value, the time and the floor in one round trip.
func BenchmarkGet(b *testing.B) {
	for name, secret := range map[string]string{"sealed=no": "", "sealed=yes": testSecret} {
		c := benchCache(b, servers.StartRedis(b).URL(), "a", secret)
		benchFill(b, c, "p")
		keys := []string{c.names.record + "p", c.names.floor}
		for how, get := range map[string]func(context.Context) error{
			"cache":  func(ctx context.Context) error { _, err := c.Get(ctx, "p"); return err },
			"script": func(ctx context.Context) error { return scriptGet.Run(ctx, c.client, keys).Err() },
			"pipeline": func(ctx context.Context) error {
				_, err := c.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
					pipe.Time(ctx)
					pipe.MGet(ctx, keys...)
					return nil
				})
				return err
			},
			"get": func(ctx context.Context) error { return c.client.Get(ctx, keys[0]).Err() },
		} {
			b.Run(name+"/how="+how, func(b *testing.B) {
				b.ReportAllocs()
				ours, its := cpu(), serverCPU(b, c)
				for b.Loop() {
					if err := get(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64((cpu()-ours).Microseconds())/float64(b.N), "client-us/op")
				b.ReportMetric(float64((serverCPU(b, c)-its).Microseconds())/float64(b.N), "redis-us/op")
			})
		}
	}
}

func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r) // it cannot fail
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func serverCPU(b *testing.B, c *Cache) (d time.Duration) {
	b.Helper()
	info, err := c.client.InfoMap(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"used_cpu_user", "used_cpu_sys"} {
		seconds, err := strconv.ParseFloat(info["CPU"][name], 64)
		if err != nil {
			b.Fatal(err)
		}
		d += time.Duration(seconds * float64(time.Second))
	}
	return d
}

// BenchmarkFill is a whole fill: lease, store.
func BenchmarkFill(b *testing.B) {
	c := benchCache(b, servers.StartRedis(b).URL(), "a", testSecret)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		benchFill(b, c, strconv.Itoa(i))
	}
}

// BenchmarkHearing is from an operator's DEL until the look is delivered.
func BenchmarkHearing(b *testing.B) {
	c := benchCache(b, servers.StartRedis(b).URL(), "a", "")
	listener := authtest.Listen(b, c)
	listener.Await(b, 0, auth.Demote, "")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		prefix := strconv.Itoa(i)
		benchFill(b, c, prefix)
		mark := listener.Mark()
		if err := c.client.Del(b.Context(), c.names.record+prefix).Err(); err != nil {
			b.Fatal(err)
		}
		listener.Await(b, mark, auth.Look, prefix)
	}
}

// BenchmarkInvalidate is from the call until every proxy has confirmed.
func BenchmarkInvalidate(b *testing.B) {
	for _, proxies := range []int{1, 4} {
		url := servers.StartRedis(b).URL()
		fleet := make([]*Cache, proxies)
		for i := range fleet {
			fleet[i] = benchCache(b, url, strconv.Itoa(i), testSecret)
			authtest.Listen(b, fleet[i]).Await(b, 0, auth.Demote, "")
		}
		for _, n := range []int{1, 1000, 10_000} {
			prefixes := make([]string, n)
			for i := range prefixes {
				prefixes[i] = fmt.Sprintf("zap_live_%012d", i)
			}
			b.Run(fmt.Sprintf("proxies=%d/prefixes=%d", proxies, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					got, err := fleet[0].Invalidate(b.Context(), auth.Scope{Prefixes: prefixes})
					if err != nil || got.Confirmed != proxies {
						b.Fatal(got, err)
					}
				}
			})
		}
	}
}
