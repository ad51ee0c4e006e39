package main

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"keygate/tests/load/run"
	"keygate/tests/programs"
)

const (
	mostKeys = 1_000_000
	// The first look at a million keys would take minutes: after this long its rate is known.
	firstLook = 3 * time.Second
	// Fewer keys than this are all seen before anything can be measured.
	fewKeys = 10_000

	seriesMemory = "hop, in turn, all in memory"
	seriesZipf   = "stack, Zipf 1.0"
	seriesFirst  = "hop, each for the first time"
)

var keys = curve{
	name: "keys", title: "Throughput and p99 against the number of keys",
	conditions: "200 connections, one round. In memory: each key in turn, which no cache likes, after every key was used " +
		"once; no Redis, and a --cache-ttl of an hour, so that none goes stale meanwhile. First time: memory and Redis " +
		"empty, so that every request asks Redis and PostgreSQL; --source-rate lifted. Zipf: everything as installed, memory " +
		"and Redis empty at first, after three seconds of load",
	x: scale{Name: "keys", Logarithmic: true}, panels: []panel{throughput, tail},
	measure: func(ctx context.Context, f *field, r *recorder) error {
		for _, n := range []int{1, 100, fewKeys, 100_000, mostKeys} {
			if err := f.mint(ctx, n-len(f.keys)); err != nil {
				return err
			}
			if err := f.alone(ctx, r, seriesMemory, n, f.inMemory); err != nil {
				return err
			}
			if err := f.alone(ctx, r, seriesZipf, n, f.zipf); err != nil {
				return err
			}
			if n < fewKeys {
				continue
			}
			if err := f.alone(ctx, r, seriesFirst, n, f.firstTime); err != nil {
				return err
			}
		}
		return nil
	},
}

var anyRate = []string{"--source-rate", "1000000"}

// alone takes one sample with an empty Redis and programs of its own, which end after it.
func (f *field) alone(
	ctx context.Context, r *recorder, name string, n int, take func(context.Context, []string) (sample, error),
) error {
	options, err := redis.ParseURL(f.Redis.URL())
	if err != nil {
		return err
	}
	client := redis.NewClient(options)
	if err := errors.Join(client.FlushAll(ctx).Err(), client.Close()); err != nil {
		return err
	}
	running := f.Running()
	got, err := take(ctx, f.keys[:n])
	if err := errors.Join(err, f.StopAfter(running)); err != nil {
		return err
	}
	r.add(name, float64(n), got)
	return nil
}

func (f *field) inMemory(ctx context.Context, keys []string) (sample, error) {
	t, err := f.hop(ctx, programs.Launcher{
		Environment: []string{"REDIS_URL="}, Arguments: append([]string{"--cache-ttl", "1h"}, anyRate...),
	})
	if err != nil {
		return sample{}, err
	}
	got, err := f.load(ctx, t, load{
		connections: usualConnections, keys: keys, warmup: run.Limit{Requests: int64(max(len(keys), fewKeys))},
	})
	if err != nil {
		return sample{}, err
	}
	bytes, err := programs.RSS(t.parts[0].PID)
	got.RSS = float64(bytes) / (1 << 20)
	return got, err
}

func (f *field) zipf(ctx context.Context, keys []string) (sample, error) {
	t, err := f.stack(ctx, 1, 1, programs.Launcher{})
	if err != nil {
		return sample{}, err
	}
	return f.load(ctx, t, load{
		connections: usualConnections, keys: keys, zipf: 1, warmup: run.Limit{Duration: firstLook},
	})
}

func (f *field) firstTime(ctx context.Context, keys []string) (sample, error) {
	t, err := f.hop(ctx, programs.Launcher{Arguments: anyRate})
	if err != nil {
		return sample{}, err
	}
	// Not all of them: a key that comes round again would be no first time.
	limit := run.Limit{Duration: firstLook}
	if len(keys) <= 100_000 {
		limit = run.Limit{Requests: int64(len(keys))}
	}
	return f.load(ctx, t, load{connections: usualConnections, keys: keys, cold: true, limit: limit})
}
