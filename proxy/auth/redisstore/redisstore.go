package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"keygate/proxy/auth"
	"keygate/shared/coalesce"
)

// ErrCacheDown reports that Redis was not asked, because it did not answer a moment ago.
var ErrCacheDown = errors.New("the shared cache does not answer")

// Cache is the tier in Redis. Get, Lease, Store, Release, Evict and Invalidate are safe for concurrent use. Run hears
// and beats; it is called once.
type Cache struct {
	cfg     Config
	client  redis.UniversalClient
	cluster *redis.ClusterClient // nil unless client is one
	names   names
	codec   codec
	breaker *breaker
	reads   *coalesce.Calls[*look]
	turns   chan struct{} // one for each round trip that may use a connection
	writes  *writes
	metrics *Metrics
	started time.Time

	addresses []string // for people

	floor  floor
	outlet outlet
	roster roster
	inbox  inbox
	acks   chan message // to the goroutine of Run that sends confirmations
	links  atomic.Int32 // subscriptions that are up
	wanted atomic.Int32 // subscriptions that should be
}

var (
	_ auth.Cache   = (*Cache)(nil)
	_ auth.Changes = (*Cache)(nil)
	_ auth.Fleet   = (*Cache)(nil)
)

// New returns a Cache that has asked nothing yet. Close frees it. The library's own log, which is one per process, is
// turned off: what is worth saying is said once per change through Logger.
func New(cfg Config) (*Cache, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	opts, err := options(cfg.URL)
	if err != nil {
		return nil, err
	}
	logging.Disable()
	c := &Cache{
		cfg:       cfg,
		client:    redis.NewUniversalClient(opts),
		addresses: opts.Addrs,
		names:     newNames(cfg.KeyPrefix, opts.DB),
		codec:     codec{secrets: cfg.Secrets, maxTTL: cfg.RedisTTL},
		metrics:   cfg.Metrics,
		started:   time.Now(),
		outlet:    outlet{metrics: cfg.Metrics},
		acks:      make(chan message, ackQueue),
	}
	c.cluster, _ = c.client.(*redis.ClusterClient)
	c.wanted.Store(1)
	c.reads = coalesce.New(c.look, coalesce.Over(opts.PoolSize, tripLooks))
	c.turns = make(chan struct{}, opts.PoolSize)
	c.breaker = &breaker{changed: c.breakerChanged}
	c.writes = &writes{changed: c.writesChanged}
	return c, nil
}

// Close closes the connections. Run must have returned.
func (c *Cache) Close() error {
	c.reads.Close()
	if err := c.client.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
		return fmt.Errorf("closing the connections to Redis: %w", err)
	}
	return nil
}

// Prove asks Redis for its time, with the patience of somebody who starts a program. An error names the address.
func (c *Cache) Prove(ctx context.Context) error {
	err := c.tell(ctx, "answer", func(ctx context.Context) error { return c.client.Time(ctx).Err() })
	if err != nil {
		return fmt.Errorf("reaching Redis at %s: %w", strings.Join(c.addresses, ","), err)
	}
	return nil
}

// Healthy says whether Redis answered the last look-ups.
func (c *Cache) Healthy() bool { return c.breaker.healthy() }

// Writable says whether Redis took the last writes.
func (c *Cache) Writable() bool { return c.writes.taken() }

// Subscribed says whether evictions are heard at present.
func (c *Cache) Subscribed() bool { return c.links.Load() == c.wanted.Load() }

func (c *Cache) breakerChanged(open bool) {
	if open {
		c.metrics.breaker.Set(1)
		c.cfg.Logger.Warn("Redis does not answer; look-ups go on without it")
		return
	}
	c.metrics.breaker.Set(0)
	c.cfg.Logger.Info("Redis answers again")
}

func (c *Cache) writesChanged(why error) {
	if why != nil {
		c.metrics.refused.Set(1)
		c.cfg.Logger.Warn("Redis takes no writes; each proxy keeps what it looks up to itself", "error", why)
		return
	}
	c.metrics.refused.Set(0)
	c.cfg.Logger.Info("Redis takes writes again")
}

// write is a round trip that a request waits for, and that Redis may refuse.
func (c *Cache) write(ctx context.Context, command string, do func(context.Context) error) error {
	if !c.writes.taken() {
		c.metrics.trips.WithLabelValues(command, outcomeSkipped).Inc()
		return ErrNoWrites
	}
	err := c.ask(ctx, command, do)
	if c.cluster == nil { // else another master may take what this one refuses
		c.writes.report(err)
	}
	return err
}

func (c *Cache) takeTurn(ctx context.Context) bool {
	select {
	case c.turns <- struct{}{}:
		return true
	default:
	}
	patience, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	select {
	case c.turns <- struct{}{}:
		return true
	case <-patience.Done():
		return false
	}
}

// ask is a round trip that a request waits for. Its deadline is for Redis alone: who waits for a connection because all are
// in use by others, for as long at most, is not slowed by Redis, nor would they learn anything about it.
func (c *Cache) ask(ctx context.Context, command string, do func(context.Context) error) error {
	if !c.takeTurn(ctx) {
		c.metrics.trips.WithLabelValues(command, outcomeSkipped).Inc()
		return ErrCacheDown
	}
	defer func() { <-c.turns }()
	began := time.Now()
	if !c.breaker.allow(began) {
		c.metrics.trips.WithLabelValues(command, outcomeSkipped).Inc()
		return ErrCacheDown
	}
	outcome, err := c.trip(ctx, c.cfg.Timeout, command, do)
	if outcome != outcomeCancelled {
		c.breaker.report(outcome == outcomeOK || outcome == outcomeRefused && !notServing(err), began, time.Now())
	}
	return err
}

// tell is a round trip that no request waits for. It neither heeds the breaker nor tells it: an operator's DEL is
// worth a try, and a Redis that takes 200 ms is alive for heartbeats but not for look-ups.
func (c *Cache) tell(ctx context.Context, command string, do func(context.Context) error) error {
	_, err := c.trip(ctx, slowTimeout, command, do)
	return err
}

func (c *Cache) trip(
	ctx context.Context, limit time.Duration, command string, do func(context.Context) error,
) (outcome string, err error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	err = do(limited)
	outcome = outcomeOf(ctx, err)
	c.metrics.trips.WithLabelValues(command, outcome).Inc()
	c.metrics.seconds.WithLabelValues(command).Observe(time.Since(began).Seconds())
	if err != nil {
		return outcome, fmt.Errorf("asking Redis to %s: %w", command, err)
	}
	return outcome, nil
}

// notServing says that Redis answers every command with this error, so that there is no point in asking more.
func notServing(err error) bool {
	return redis.IsLoadingError(err) || redis.HasErrorPrefix(err, "NOAUTH") || redis.HasErrorPrefix(err, "WRONGPASS") ||
		redis.HasErrorPrefix(err, "NOPERM")
}

// outcomeOf says how a round trip ended. An error that Redis itself answered with (out of memory, read-only, loading)
// is not silence: it comes at once, and other commands may go on.
func outcomeOf(ctx context.Context, err error) string {
	var answer redis.Error
	var network net.Error
	switch {
	case err == nil:
		return outcomeOK
	case errors.As(err, &answer):
		return outcomeRefused
	case ctx.Err() != nil:
		return outcomeCancelled
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return outcomeTimeout
	}
	return outcomeUnreachable
}
