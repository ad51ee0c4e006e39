package redisstore

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"keygate/proxy/auth"
)

// Run keeps this proxy alive in its fleet and delivers what is heard through Redis until ctx ends, whose error it
// returns. What it delivers has been evicted from Redis by whoever told us: evicting it again would tell everybody
// again.
func (c *Cache) Run(ctx context.Context, deliver func(auth.Change)) error {
	c.outlet.open(deliver)
	defer c.outlet.close()
	// First of all: from the moment in which there are copies here, invalidations elsewhere count on us.
	_ = c.beat(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { c.keepAlive(ctx) })
	wg.Go(func() { c.sendConfirmations(ctx) })
	if c.cluster == nil {
		c.keepSubscribed(ctx, c.client.(*redis.Client))
	} else {
		c.followMasters(ctx)
	}
	wg.Wait()
	c.leave(context.WithoutCancel(ctx))
	return ctx.Err()
}

// followMasters keeps a subscription to every master of the cluster.
func (c *Cache) followMasters(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	following := make(map[string]context.CancelFunc) // by address
	ticker := time.NewTicker(beatInterval)
	defer ticker.Stop()
	for {
		// Without an answer, what is known goes on: the subscriptions notice by themselves what is gone.
		if masters, err := c.masters(ctx); err == nil {
			for addr, stop := range following {
				if masters[addr] == nil {
					stop()
					delete(following, addr)
				}
			}
			c.wanted.Store(int32(max(1, len(masters))))
			for addr, master := range masters {
				if following[addr] == nil {
					one, stop := context.WithCancel(ctx)
					following[addr] = stop
					wg.Go(func() { c.keepSubscribed(one, master) })
				}
			}
		}
		select {
		case <-ctx.Done():
			for _, stop := range following {
				stop()
			}
			return
		case <-ticker.C:
		}
	}
}

// masters asks the cluster for its masters.
func (c *Cache) masters(ctx context.Context) (map[string]*redis.Client, error) {
	var mu sync.Mutex
	masters := make(map[string]*redis.Client)
	err := c.tell(ctx, "masters", func(ctx context.Context) error {
		return c.cluster.ForEachMaster(ctx, func(_ context.Context, master *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			masters[master.Options().Addr] = master
			return nil
		})
	})
	return masters, err
}
