package redisstore

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// floor is the time at or before which a record's filling voids it. It never falls: a Redis that lost it is told.
type floor struct {
	known  atomic.Int64 // the highest heard of
	readAt atomic.Int64 // when it was last read, in nanoseconds since the Cache was made
}

// saw learns a floor.
func (f *floor) saw(floor int64) {
	for {
		known := f.known.Load()
		if floor <= known || f.known.CompareAndSwap(known, floor) {
			return
		}
	}
}

// In a cluster the floor cannot be read together with a record. A heartbeat reads it each second; when that failed
// three times, whoever wants a record reads it first.
const floorAge = 3 * time.Second

// knowFloor makes sure that the floor was read lately.
func (c *Cache) knowFloor(ctx context.Context) error {
	if at := c.floor.readAt.Load(); at > 0 && time.Since(c.started)-time.Duration(at) < floorAge {
		return nil
	}
	return c.ask(ctx, "floor", func(ctx context.Context) error {
		_, _, err := c.runFloor(ctx, c.floor.known.Load(), "")
		return err
	})
}

// learnFloor reads the floor, and tells Redis ours if that is higher. If it rose without our being told, copies are
// removed.
func (c *Cache) learnFloor(ctx context.Context) error {
	return c.tell(ctx, "floor", func(ctx context.Context) error {
		now, floor, err := c.runFloor(ctx, c.floor.known.Load(), "")
		if err == nil {
			c.outlet.floorIs(floor, now-(time.Since(c.started)+clockSlack).Milliseconds())
		}
		return err
	})
}

// raiseFloor voids every record of now.
func (c *Cache) raiseFloor(ctx context.Context) error {
	return c.tell(ctx, "floor", func(ctx context.Context) error {
		latest, err := c.latestClock(ctx)
		if err != nil {
			return err
		}
		_, floor, err := c.runFloor(ctx, max(latest, c.floor.known.Load()), "raise")
		if err == nil {
			c.outlet.removedUpTo(floor)
		}
		return err
	})
}

func (c *Cache) runFloor(ctx context.Context, known int64, raise string) (now, floor int64, err error) {
	answer, err := scriptFloor.Run(ctx, c.client, []string{c.names.floor}, known, raise).Int64Slice()
	if err != nil {
		return 0, 0, err
	}
	if len(answer) != 2 {
		return 0, 0, errAnswer
	}
	c.floor.saw(answer[1])
	c.floor.readAt.Store(int64(time.Since(c.started)))
	return answer[0], answer[1], nil
}

// latestClock returns the time of the master whose clock is furthest ahead, because records bear the clocks of their
// own masters; 0 where there is one clock.
func (c *Cache) latestClock(ctx context.Context) (int64, error) {
	if c.cluster == nil {
		return 0, nil
	}
	var latest atomic.Int64
	err := c.cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		now, err := master.Time(ctx).Result()
		for err == nil {
			known := latest.Load()
			if now.UnixMilli() <= known || latest.CompareAndSwap(known, now.UnixMilli()) {
				break
			}
		}
		return err
	})
	return latest.Load(), err
}
