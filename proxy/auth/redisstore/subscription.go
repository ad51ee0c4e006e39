package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// The channel on which Redis tells RESP2 clients of writes to keys.
	invalidations = "__redis__:invalidate"
	// An echo is due each second. Three that did not come are a link that is half-open.
	linkTimeout = 3 * beatInterval
	// After a loss, a fleet does not come back all at once, nor does it hammer a server that is starting.
	minRetry, maxRetry = 20 * time.Millisecond, time.Second
)

// keepSubscribed subscribes to a server again and again until ctx ends.
func (c *Cache) keepSubscribed(ctx context.Context, server *redis.Client) {
	log := c.cfg.Logger.With("redis", server.Options().Addr)
	told := false
	for retry := minRetry; ; retry = min(2*retry, maxRetry) {
		err := c.subscribed(ctx, server, func() {
			log.Info("hearing evictions through Redis")
			told, retry = false, minRetry
		})
		if ctx.Err() != nil {
			return
		}
		if !told {
			log.Warn("not hearing evictions through Redis; copies live up to their TTL until it is back", "error", err)
			told = true
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(retry/2 + rand.N(retry)):
		}
	}
}

// subscribed subscribes once, calls up when that is confirmed and copies are demoted, and delivers until the link
// fails.
func (c *Cache) subscribed(ctx context.Context, server *redis.Client, up func()) error {
	s := newSubscription(server, c.names.record)
	defer s.close()
	defer context.AfterFunc(ctx, s.close)()
	if err := s.open(ctx, c.names.bus, c.names.mailbox(c.cfg.ProxyID)); err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	if err := c.learnFloor(ctx); err != nil {
		return err
	}
	c.outlet.demoteAll()
	c.metrics.subscribed.Set(float64(c.links.Add(1)))
	defer func() { c.metrics.subscribed.Set(float64(c.links.Add(-1))) }()
	up()
	err := c.hear(ctx, s)
	c.metrics.lost.WithLabelValues(reasonOf(ctx, err)).Inc()
	return fmt.Errorf("listening: %w", err)
}

// hear delivers what comes until the link fails.
func (c *Cache) hear(ctx context.Context, s *subscription) error {
	for {
		got, err := s.pubsub.ReceiveTimeout(ctx, linkTimeout)
		if isFlush(err) {
			c.outlet.demoteAll()
			continue
		}
		if err != nil {
			return err
		}
		m, ok := got.(*redis.Message)
		if !ok {
			return fmt.Errorf("a %T where a message was due", got)
		}
		if m.Channel == invalidations {
			c.outlet.look(c.prefixes(m.PayloadSlice))
		} else {
			c.received(ctx, m.Channel, m.Payload)
		}
	}
}

// prefixes turns names of keys into public prefixes, in place.
func (c *Cache) prefixes(keys []string) []string {
	for i, key := range keys {
		keys[i] = strings.TrimPrefix(key, c.names.record)
	}
	return keys
}

// isFlush recognises FLUSHALL and FLUSHDB: instead of names comes null, for which the library has no type.
func isFlush(err error) bool {
	return err != nil && err.Error() == "redis: unsupported pubsub message payload: <nil>"
}

func reasonOf(ctx context.Context, err error) string {
	var network net.Error
	switch {
	case ctx.Err() != nil:
		return lostMoved
	case errors.As(err, &network) && network.Timeout():
		return lostSilent
	}
	return lostClosed
}

// subscription is one connection that tracks, redirects to itself and subscribes.
type subscription struct {
	client *redis.Client
	pubsub *redis.PubSub
}

// newSubscription makes a client of its own for server: the same address, or the same Sentinels, TLS and user.
func newSubscription(server *redis.Client, keyPrefix string) *subscription {
	opts := *server.Options()
	opts.MinIdleConns = 0
	opts.OnConnect = func(ctx context.Context, conn *redis.Conn) error {
		id, err := conn.ClientID(ctx).Result()
		if err != nil {
			return err
		}
		return conn.Do(ctx, "client", "tracking", "on", "redirect", id, "bcast", "prefix", keyPrefix).Err()
	}
	client := redis.NewClient(&opts)
	return &subscription{client, client.Subscribe(context.Background())}
}

// open subscribes and returns when Redis has confirmed.
func (s *subscription) open(ctx context.Context, channels ...string) error {
	channels = append(channels, invalidations)
	if err := s.pubsub.Subscribe(ctx, channels...); err != nil {
		return err
	}
	for range channels { // confirmed together, before any message
		got, err := s.pubsub.ReceiveTimeout(ctx, linkTimeout)
		if err != nil {
			return err
		}
		if _, ok := got.(*redis.Subscription); !ok {
			return fmt.Errorf("a %T where a confirmation was due", got)
		}
	}
	return nil
}

func (s *subscription) close() {
	_ = s.pubsub.Close()
	_ = s.client.Close()
}
