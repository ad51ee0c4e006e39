package redisstore

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"keygate/proxy/auth"
	"keygate/shared/trust"
	"keygate/tests/servers"
)

func benchCache(b *testing.B, secret string) *Cache {
	secrets, err := trust.Parse(secret)
	if err != nil {
		b.Fatal(err)
	}
	c, err := New(Config{
		URL: servers.StartRedis(b).URL(), KeyPrefix: DefaultKeyPrefix, RedisTTL: 5 * time.Minute, StaleIfError: 10 * time.Minute,
		Timeout: 50 * time.Millisecond, ProxyID: "bench", Alive: 33 * time.Second, Secrets: secrets,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: NewMetrics(prometheus.NewRegistry()),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	ctx := context.Background()
	got, err := c.Lease(ctx, "p")
	if err != nil {
		b.Fatal(err)
	}
	_, err = c.Store(ctx, "p", got.Token, auth.Record{Fill: "f", FilledAt: got.Now, ReadAt: got.Now, FreshUntil: got.Now + 300_000, Keys: []auth.Key{{OrgID: "0198c0de-0000-7000-8000-000000000001", Alg: auth.SHA256, Enabled: true, OrgEnabled: true}}})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func BenchmarkGet(b *testing.B) {
	ctx := context.Background()
	for _, seal := range []string{"", "a secret of at least sixteen bytes"} {
		name := "sealed=no"
		if seal != "" {
			name = "sealed=yes"
		}
		c := benchCache(b, seal)
		key := "org:prefix:p"
		run := func(name string, f func() error) {
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				ours, its := cpu(), c.serverCPU(b)
				for b.Loop() {
					if err := f(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64((cpu()-ours).Microseconds())/float64(b.N), "client-us/op")
				b.ReportMetric(float64((c.serverCPU(b)-its).Microseconds())/float64(b.N), "redis-us/op")
			})
		}
		run(name+"/how=cache", func() error { _, err := c.Get(ctx, "p"); return err })
		run(name+"/how=script", func() error {
			_, err := scriptGet.Run(ctx, c.client, []string{key, "keygate:floor"}).Slice()
			return err
		})
		run(name+"/how=pipeline", func() error {
			_, err := c.client.Pipelined(ctx, func(p redis.Pipeliner) error {
				p.Time(ctx)
				p.MGet(ctx, key, "keygate:floor")
				return nil
			})
			return err
		})
		run(name+"/how=get", func() error { return c.client.Get(ctx, key).Err() })
	}
}

func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func (c *Cache) serverCPU(b *testing.B) (d time.Duration) {
	info, err := c.client.InfoMap(context.Background(), "cpu").Result()
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
