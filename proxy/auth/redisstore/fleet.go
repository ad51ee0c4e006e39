package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"keygate/proxy/auth"
)

// The prefixes of one message: about 20 KiB.
const partSize = 500

// Invalidate evicts scope, tells every living proxy, and waits until each has removed it or ctx ends. The caller must
// have removed its own copies before. They are removed once more after the eviction, by a change delivered through
// Run: what was read from Redis in between may be stale. This proxy counts as alive and confirmed.
func (c *Cache) Invalidate(ctx context.Context, scope auth.Scope) (auth.Receipt, error) {
	if err := c.Evict(ctx, scope); err != nil {
		return auth.Receipt{}, err
	}
	c.outlet.remove(scope)
	others, listErr := c.others(ctx)
	parts := split(c.cfg.ProxyID, scope)
	w := c.inbox.expect(others, parts)
	defer c.inbox.forget(w)
	// They are told even if nobody knows who they are.
	if err := errors.Join(c.publish(ctx, c.names.bus, parts...), listErr); err != nil {
		return auth.Receipt{}, err
	}
	select {
	case <-w.complete:
	case <-ctx.Done():
	}
	return auth.Receipt{Confirmed: 1 + c.inbox.count(w), Proxies: 1 + len(others)}, nil
}

// split makes the messages of one invalidation.
func split(from string, scope auth.Scope) []message {
	m := message{Kind: kindRemove, From: from, ID: rand.Text()}
	if scope.All {
		m.All = true
		return []message{m}
	}
	var parts []message
	for prefixes := range slices.Chunk(scope.Prefixes, partSize) {
		m.Prefixes = prefixes
		parts = append(parts, m)
		m.Part++
	}
	return parts
}

// beatInterval keeps the time to notice a half-open link at three beats, and the load at next to nothing.
const beatInterval = time.Second

// keepAlive tells the fleet each second that this proxy lives, until ctx ends.
func (c *Cache) keepAlive(ctx context.Context) {
	ticker := time.NewTicker(beatInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		// Silence is noticed and told by the subscription, which misses its echo, and by look-ups.
		_ = c.beat(ctx)
		_ = c.learnFloor(ctx)
	}
}

// beat refreshes the heartbeat and sends an echo. The echo comes first and by itself: a Redis that is read-only or
// out of memory still delivers it.
func (c *Cache) beat(ctx context.Context) error {
	mailbox := c.names.mailbox(c.cfg.ProxyID)
	echo, err := c.encode(mailbox, message{Kind: kindEcho, From: c.cfg.ProxyID})
	if err != nil {
		return err
	}
	err = c.tell(ctx, "beat", func(ctx context.Context) error {
		var listing *redis.Cmd
		_, err := c.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			pipe.Publish(ctx, mailbox, echo)
			listing = pipe.Eval(ctx, luaBeat, []string{c.names.proxies}, c.cfg.ProxyID, c.cfg.Alive.Milliseconds())
			return nil
		})
		if err != nil {
			return err
		}
		return c.listed(listing, true)
	})
	c.writes.report(err)
	return err
}

// others returns the living proxies but this one.
func (c *Cache) others(ctx context.Context) ([]string, error) {
	err := c.tell(ctx, "list", func(ctx context.Context) error {
		return c.listed(scriptLiving.Run(ctx, c.client, []string{c.names.proxies}, c.cfg.ProxyID), false)
	})
	if err == nil && !c.roster.kept() {
		err = errNotKept
	}
	return c.roster.others(), err
}

// errNotKept reports a list that says nothing about who lives.
var errNotKept = errors.New("heartbeats do not reach Redis, so that nobody knows which proxies live")

// listed learns who lives from the answer of luaBeat, which has put us on the list, or luaLiving.
func (c *Cache) listed(answer *redis.Cmd, joined bool) error {
	parts, err := answer.Slice()
	if err != nil {
		return err
	}
	if len(parts) != 3 {
		return errAnswer
	}
	now, isTime := parts[1].(int64)
	list, isList := parts[2].([]any)
	if !isTime || !isList {
		return errAnswer
	}
	living := make(map[string]time.Duration, len(list)/2)
	for pair := range slices.Chunk(list, 2) {
		id, _ := pair[0].(string)
		score, _ := pair[len(pair)-1].(string)
		until, err := strconv.ParseFloat(score, 64)
		if err != nil {
			return errAnswer
		}
		if id != c.cfg.ProxyID {
			living[id] = time.Duration(until-float64(now)) * time.Millisecond
		}
	}
	c.roster.listed(living, parts[0] == int64(1), joined)
	c.metrics.fleet.Set(float64(1 + len(c.roster.others())))
	return nil
}

// leave takes this proxy off the list: it answers no more requests.
func (c *Cache) leave(ctx context.Context) {
	// If Redis cannot be reached now, the heartbeat runs out by itself.
	_ = c.tell(ctx, "leave", func(ctx context.Context) error {
		return c.client.ZRem(ctx, c.names.proxies, c.cfg.ProxyID).Err()
	})
}
