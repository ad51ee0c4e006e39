package redisstore

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"
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
	others, err := c.others(ctx)
	if err != nil {
		return auth.Receipt{}, err
	}
	parts := split(c.cfg.ProxyID, scope)
	w := c.inbox.expect(others, parts)
	defer c.inbox.forget(w)
	if err := c.publish(ctx, c.names.bus, parts...); err != nil {
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
	return c.tell(ctx, "beat", func(ctx context.Context) error {
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
}

// others returns the living proxies but this one.
func (c *Cache) others(ctx context.Context) ([]string, error) {
	err := c.tell(ctx, "list", func(ctx context.Context) error {
		answer := scriptLiving.Run(ctx, c.client, []string{c.names.proxies}, c.cfg.ProxyID, c.cfg.Alive.Milliseconds())
		return c.listed(answer, false)
	})
	return c.roster.others(), err
}

// listed learns who lives from the answer of luaBeat, which has put us on the list, or luaLiving.
func (c *Cache) listed(answer *redis.Cmd, joined bool) error {
	parts, err := answer.Slice()
	if err != nil {
		return err
	}
	if len(parts) != 2 {
		return errAnswer
	}
	ids, ok := parts[1].([]any)
	if !ok {
		return errAnswer
	}
	living := make([]string, 0, len(ids))
	for _, id := range ids {
		if id, ok := id.(string); ok && id != c.cfg.ProxyID {
			living = append(living, id)
		}
	}
	absent := parts[0] == int64(1)
	c.roster.listed(living, absent, joined || !absent)
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

// roster is who lives. Redis can lose its list (FLUSHALL, a restart, a fail-over): whoever was on it a moment ago still
// holds copies, and an invalidation that did not count them would claim to be complete.
type roster struct {
	alive time.Duration

	mu     sync.Mutex
	member bool                 // we were on the list when it was last read or written
	living map[string]bool      // the last listing, without us
	missed map[string]time.Time // on a list that was lost and not on one since: until when they count
}

// listed learns a listing. Absent says that we were not on it, which is a loss if we should have been; member that we
// are now.
func (r *roster) listed(living []string, absent, member bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.missed == nil {
		r.missed = make(map[string]time.Time)
	}
	if absent && r.member {
		for id := range r.living {
			r.missed[id] = time.Now().Add(r.alive)
		}
	}
	r.member = member
	r.living = make(map[string]bool, len(living))
	for _, id := range living {
		r.living[id] = true
		delete(r.missed, id)
	}
}

func (r *roster) others() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := make([]string, 0, len(r.living)+len(r.missed))
	for id := range r.living {
		ids = append(ids, id)
	}
	for id, until := range r.missed {
		if time.Now().After(until) {
			delete(r.missed, id)
			continue
		}
		ids = append(ids, id)
	}
	return ids
}
