package redisstore

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"keygate/proxy/auth"
)

// 128 records of 400 bytes are read in a fraction of a millisecond.
const tripLooks = 128

// look is one key that somebody wants to know about.
type look struct {
	key  string
	seen sighting
	err  error
}

// Get reads what stands under prefix. Those who ask meanwhile share the next round trip.
func (c *Cache) Get(ctx context.Context, prefix string) (auth.Reading, error) {
	if c.cluster != nil { // TIME would ask any node
		return c.read(ctx, "get", c.ask, scriptGet, c.names.record+prefix)
	}
	readings, err := c.GetMany(ctx, []string{prefix})
	if err != nil {
		return auth.Reading{}, err
	}
	return readings[0], nil
}

// GetMany reads what stands under each prefix.
func (c *Cache) GetMany(ctx context.Context, prefixes []string) ([]auth.Reading, error) {
	if c.cluster != nil {
		return c.getEach(ctx, prefixes)
	}
	looks := make([]*look, len(prefixes))
	for i, prefix := range prefixes {
		looks[i] = &look{key: c.names.record + prefix}
	}
	if err := c.reads.Do(ctx, looks...); err != nil {
		return nil, err
	}
	readings := make([]auth.Reading, len(looks))
	for i, l := range looks {
		if l.err != nil {
			return nil, l.err
		}
		readings[i] = c.judge(l.key, l.seen)
	}
	return readings, nil
}

// getEach asks the nodes of a cluster, each of which runs the script with its own clock.
func (c *Cache) getEach(ctx context.Context, prefixes []string) ([]auth.Reading, error) {
	readings := make([]auth.Reading, len(prefixes))
	all, ctx := errgroup.WithContext(ctx)
	for i, prefix := range prefixes {
		all.Go(func() (err error) {
			readings[i], err = c.Get(ctx, prefix)
			return err
		})
	}
	return readings, all.Wait()
}

// look makes one round trip for all.
func (c *Cache) look(all []*look) {
	err := c.ask(context.Background(), "get", func(ctx context.Context) error {
		pipe := c.client.Pipeline()
		now := pipe.Time(ctx)
		values := make([]*redis.StringCmd, len(all))
		for i, l := range all {
			values[i] = pipe.Get(ctx, l.key)
		}
		floor := pipe.Get(ctx, c.names.floor) // last, so that no record is believed that a rise during this has voided
		_, err := pipe.Exec(ctx)
		return sight(all, err, now, values, floor)
	})
	for _, l := range all {
		l.err = err
	}
}

// sight takes sightings from commands and the error of all, which is the first of theirs, or one that the library does not
// always give to the commands as well. A value of another type than a string is seen as the empty one, which is no record.
func sight(all []*look, err error, now *redis.TimeCmd, values []*redis.StringCmd, floor *redis.StringCmd) error {
	if err != nil && !harmless(err) {
		return err
	}
	var raised int64
	if !errors.Is(floor.Err(), redis.Nil) {
		if raised, err = floor.Int64(); err != nil {
			return err
		}
	}
	for i, l := range all {
		if err := values[i].Err(); err != nil && !harmless(err) {
			return err
		}
		l.seen = sighting{now.Val().UnixMilli(), !errors.Is(values[i].Err(), redis.Nil), values[i].Val(), raised}
	}
	return now.Err()
}

func harmless(err error) bool {
	return errors.Is(err, redis.Nil) || redis.HasErrorPrefix(err, "WRONGTYPE")
}
