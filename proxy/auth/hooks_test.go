package auth_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"keygate/proxy/auth"
)

// hooks are places to stop at, named "before get", "after store" and so on.
type hooks struct {
	mu    sync.Mutex
	armed map[string]*stop

	gets, manyGets, leases atomic.Int64

	storeFails atomic.Bool  // Redis takes no records
	ahead      atomic.Int64 // the clock of Redis, by milliseconds
}

type stop struct {
	of              string // prefix; empty: any but that of probes
	reached, resume chan struct{}
}

// arm has the next call stop at place until resume is closed.
func (h *hooks) arm(place string) *stop { return h.armFor(place, "") }

// armFor has the next call about a prefix stop.
func (h *hooks) armFor(place, prefix string) *stop {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &stop{prefix, make(chan struct{}), make(chan struct{})}
	h.armed[place] = s
	return s
}

// disarm says that nobody needs to stop at place any more, and whether somebody did.
func (h *hooks) disarm(place string) (reached bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, waiting := h.armed[place]
	delete(h.armed, place)
	return !waiting
}

func (h *hooks) at(place, prefix string) {
	h.mu.Lock()
	s := h.armed[place]
	meant := s != nil && (s.of == prefix || s.of == "" && prefix != "")
	if meant {
		delete(h.armed, place)
	}
	h.mu.Unlock()
	if meant {
		close(s.reached)
		<-s.resume
	}
}

type hookedCache struct {
	auth.Cache
	hooks *hooks
}

func (c *hookedCache) Get(ctx context.Context, prefix string) (auth.Reading, error) {
	c.hooks.gets.Add(1)
	c.hooks.at("before get", prefix)
	defer c.hooks.at("after get", prefix)
	r, err := c.Cache.Get(ctx, prefix)
	r.Now += c.hooks.ahead.Load()
	return r, err
}

func (c *hookedCache) GetMany(ctx context.Context, prefixes []string) ([]auth.Reading, error) {
	c.hooks.manyGets.Add(1)
	for _, prefix := range prefixes {
		c.hooks.at("before get", prefix)
	}
	all, err := c.Cache.GetMany(ctx, prefixes)
	for i := range all {
		all[i].Now += c.hooks.ahead.Load()
		c.hooks.at("after get", prefixes[i])
	}
	return all, err
}

func (c *hookedCache) Lease(ctx context.Context, prefix string) (auth.Reading, error) {
	c.hooks.leases.Add(1)
	c.hooks.at("before lease", prefix)
	defer c.hooks.at("after lease", prefix)
	return c.Cache.Lease(ctx, prefix)
}

func (c *hookedCache) Store(ctx context.Context, prefix string, expect auth.Token, rec auth.Record) (bool, error) {
	c.hooks.at("before store", prefix)
	defer c.hooks.at("after store", prefix)
	if c.hooks.storeFails.Load() {
		return false, errDown
	}
	return c.Cache.Store(ctx, prefix, expect, rec)
}

func (c *hookedCache) Release(ctx context.Context, prefix string, expect auth.Token) (bool, error) {
	c.hooks.at("before release", prefix)
	defer c.hooks.at("after release", prefix)
	return c.Cache.Release(ctx, prefix, expect)
}

func (c *hookedCache) Evict(ctx context.Context, scope auth.Scope) error {
	c.hooks.at("before evict", "any")
	defer c.hooks.at("after evict", "any")
	return c.Cache.Evict(ctx, scope)
}

// hookedSource counts queries and can be broken.
type hookedSource struct {
	auth.Source
	hooks   *hooks
	queries atomic.Int64
	at      atomic.Int64 // how many at present
	most    atomic.Int64 // and at most
	down    atomic.Bool  // fails at once
	hung    atomic.Bool  // answers nothing
	delay   atomic.Int64
}

var errDown = errors.New("the source is down")

func (s *hookedSource) Lookup(ctx context.Context, prefix string) ([]auth.Key, error) {
	s.queries.Add(1)
	for at := s.at.Add(1); ; {
		if most := s.most.Load(); at <= most || s.most.CompareAndSwap(most, at) {
			break
		}
	}
	defer s.at.Add(-1)
	s.hooks.at("before lookup", prefix)
	defer s.hooks.at("after lookup", prefix)
	if d := time.Duration(s.delay.Load()); d > 0 {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(d):
		}
	}
	switch {
	case s.hung.Load():
		<-ctx.Done()
		return nil, ctx.Err()
	case s.down.Load():
		return nil, errDown
	}
	return s.Source.Lookup(ctx, prefix)
}
