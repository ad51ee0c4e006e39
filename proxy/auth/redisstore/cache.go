package redisstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"keygate/proxy/auth"
)

// A lease outlives every look-up of the source (500 ms), and a proxy that dies holding one delays others no longer
// than this.
const leaseTTL = 2 * time.Second

// Lease puts a lease under prefix if nothing stands there.
func (c *Cache) Lease(ctx context.Context, prefix string) (auth.Reading, error) {
	key := c.names.record + prefix
	lease := fmt.Sprintf(`{"v":%d,"lease":"%s"}`, version, rand.Text())
	reading, err := c.read(ctx, "lease", c.write, scriptLease, key, lease, leaseTTL.Milliseconds())
	if err == nil && reading.State == auth.Absent {
		reading.Token = auth.Token(lease)
	}
	return reading, err
}

// Store replaces what expect names by rec.
func (c *Cache) Store(ctx context.Context, prefix string, expect auth.Token, rec auth.Record) (bool, error) {
	key := c.names.record + prefix
	value, err := c.codec.encode(key, &rec)
	if err != nil {
		return false, fmt.Errorf("encoding a record: %w", err)
	}
	until := rec.FreshUntil + c.cfg.StaleIfError.Milliseconds()
	return c.swap(ctx, "store", scriptStore, key, expect, value, until)
}

// Release removes what expect names.
func (c *Cache) Release(ctx context.Context, prefix string, expect auth.Token) (bool, error) {
	return c.swap(ctx, "release", scriptRelease, c.names.record+prefix, expect)
}

// Evict removes what stands under the prefixes, or voids all records by raising the floor. The caller must have
// removed its own copies before.
func (c *Cache) Evict(ctx context.Context, scope auth.Scope) error {
	if scope.All {
		return c.raiseFloor(ctx)
	}
	for prefixes := range slices.Chunk(scope.Prefixes, tripKeys) {
		err := c.tell(ctx, "evict", func(ctx context.Context) error { return c.del(ctx, prefixes) })
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	// 500 names in one command hold Redis up for a quarter of a millisecond.
	commandKeys = 500
	// 5,000 in one round trip take some 10 ms, so that the limit of a round trip is no limit to how many can be evicted.
	tripKeys = 5000
)

// del takes keys out. A cluster wants each key in a command of its own, as they live in different slots.
func (c *Cache) del(ctx context.Context, prefixes []string) error {
	batch := commandKeys
	if c.cluster != nil {
		batch = 1
	}
	keys := make([]string, len(prefixes))
	for i, prefix := range prefixes {
		keys[i] = c.names.record + prefix
	}
	_, err := c.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for some := range slices.Chunk(keys, batch) {
			pipe.Del(ctx, some...)
		}
		return nil
	})
	return err
}

// trip is a way to Redis.
type trip = func(ctx context.Context, command string, do func(context.Context) error) error

// read runs a script that answers with the time, a value and the floor.
func (c *Cache) read(
	ctx context.Context, command string, by trip, s *redis.Script, key string, args ...any,
) (auth.Reading, error) {
	keys := []string{key, c.names.floor}
	if c.cluster != nil { // the floor lives in another slot
		if err := c.knowFloor(ctx); err != nil {
			return auth.Reading{}, err
		}
		keys = keys[:1]
	}
	var seen sighting
	err := by(ctx, command, func(ctx context.Context) error {
		answer, err := s.Run(ctx, c.client, keys, args...).Slice()
		if err != nil {
			return err
		}
		return seen.read(answer)
	})
	if err != nil {
		return auth.Reading{}, err
	}
	return c.judge(key, seen), nil
}

// judge says what was sighted under key.
func (c *Cache) judge(key string, seen sighting) auth.Reading {
	c.floor.saw(seen.floor)
	if !seen.present {
		c.metrics.values.WithLabelValues("absent").Inc()
		return auth.Reading{State: auth.Absent, Now: seen.now}
	}
	r := auth.Reading{Now: seen.now, Token: auth.Token(seen.value)}
	var name string
	var err error
	r.State, r.Record, err = c.codec.decode(key, seen.value, seen.now)
	switch {
	case r.State == auth.Leased:
		name = "leased"
	case r.State == auth.Foreign:
		name, r.Token = "foreign", ""
	case r.State == auth.Forged:
		name = "forged"
		c.cfg.Logger.Debug("a record in Redis is not believed", "key", key, "error", err)
	case r.Record.FilledAt <= c.floor.known.Load():
		name, r.State, r.Record = "void", auth.Forged, auth.Record{}
	default:
		name = "held"
	}
	c.metrics.values.WithLabelValues(name).Inc()
	return r
}

// swap runs a script that compares with expect before it writes.
func (c *Cache) swap(
	ctx context.Context, command string, s *redis.Script, key string, expect auth.Token, args ...any,
) (done bool, err error) {
	if expect == "" { // what is absent or foreign has no token, and a foreign value may be empty
		return false, nil
	}
	args = append([]any{string(expect)}, args...)
	err = c.write(ctx, command, func(ctx context.Context) (err error) {
		done, err = s.Run(ctx, c.client, []string{key}, args...).Bool()
		return err
	})
	return done, err
}
