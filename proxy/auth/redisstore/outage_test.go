package redisstore_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/proxy/auth/redisstore"
	"keygate/tests/servers"
)

// withDeadline opens a Cache with the deadline of production.
func withDeadline(t *testing.T, server *servers.RedisServer) *redisstore.Cache {
	t.Helper()
	cfg := config(t, server.URL(), "a", "")
	cfg.Timeout = 50 * time.Millisecond
	return open(t, cfg)
}

// recovers waits until the Cache answers again.
func recovers(t *testing.T, c *redisstore.Cache) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		_, err := c.Get(t.Context(), "p")
		if err == nil && c.Healthy() {
			return time.Since(began)
		}
		if time.Since(began) > authtest.Patience {
			t.Fatalf("no recovery: %v", err)
		}
		pollAgain()
	}
}

func TestAFrozenRedisCostsTheDeadlineAFewTimesAndThenNothing(t *testing.T) {
	server := servers.StartRedis(t)
	c := withDeadline(t, server)
	recovers(t, c)
	server.Pause()
	slow := 0
	began := time.Now()
	for range 1000 {
		before := time.Now()
		_, err := c.Get(t.Context(), "p")
		if err == nil {
			t.Fatal("a frozen server answered")
		}
		if errors.Is(err, redisstore.ErrCacheDown) {
			continue
		}
		slow++
		if took := time.Since(before); took > time.Second {
			t.Errorf("a look-up took %v", took)
		}
	}
	if slow > 10 || c.Healthy() {
		t.Errorf("%d of 1000 look-ups waited, healthy: %v", slow, c.Healthy())
	}
	t.Logf("1000 look-ups took %v, of which %d waited", time.Since(began), slow)
	server.Continue()
	t.Logf("recovered after %v", recovers(t, c))
}

func TestADeadRedisIsAnErrorAtOnceAndRecovers(t *testing.T) {
	server := servers.StartRedis(t)
	c := withDeadline(t, server)
	recovers(t, c)
	token := fill(t, open(t, config(t, server.URL(), "a", "")), "held") // 50 ms are not always enough for that
	server.Kill()
	for range 100 {
		if _, err := c.Get(t.Context(), "p"); err == nil {
			t.Fatal("a dead server answered")
		}
	}
	for name, err := range map[string]error{
		"lease":   second(c.Lease(t.Context(), "p")),
		"store":   second(c.Store(t.Context(), "held", token, authtest.NewRecord(1))),
		"release": second(c.Release(t.Context(), "held", token)),
		"evict":   c.Evict(t.Context(), auth.Scope{Prefixes: []string{"p"}}),
		"all":     c.Evict(t.Context(), auth.Scope{All: true}),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if c.Healthy() {
		t.Error("healthy")
	}
	server.Start()
	t.Logf("recovered after %v", recovers(t, c))
}

func second[T any](_ T, err error) error { return err }

func TestAWrongPasswordIsAnOutage(t *testing.T) {
	server := servers.StartRedis(t, "--requirepass", "right")
	c := open(t, config(t, strings.Replace(server.URL(), "redis://", "redis://:wrong-password@", 1), "a", ""))
	var err error
	for range 10 {
		if _, err = c.Get(t.Context(), "p"); err == nil {
			t.Fatal("read with a wrong password")
		}
		if !errors.Is(err, redisstore.ErrCacheDown) && !strings.Contains(err.Error(), "WRONGPASS") {
			t.Fatalf("not told why: %v", err)
		}
		if strings.Contains(err.Error(), "wrong-password") {
			t.Fatalf("the password is shown: %v", err)
		}
	}
	if !errors.Is(err, redisstore.ErrCacheDown) || c.Healthy() {
		t.Errorf("healthy: %v, last error %v", c.Healthy(), err)
	}
}

// What Redis itself answers with comes at once: it opens no breaker, and reading goes on.
func TestARedisOutOfMemoryIsStillRead(t *testing.T) {
	server := servers.StartRedis(t)
	operator := connect(t, server.URL())
	c := withDeadline(t, server)
	recovers(t, c)
	fill(t, c, "held")
	do(t, operator, "config", "set", "maxmemory", "1")
	for range 20 {
		if _, err := c.Lease(t.Context(), "p"); err == nil {
			t.Fatal("a full server took a lease")
		}
	}
	if got, err := c.Get(t.Context(), "held"); err != nil || got.State != auth.Held || !c.Healthy() {
		t.Errorf("state %d, %v, healthy: %v", got.State, err, c.Healthy())
	}
	if err := c.Evict(t.Context(), auth.Scope{Prefixes: []string{"held"}}); err != nil {
		t.Errorf("a full server could not evict: %v", err)
	}
}

// A replica costs a connection for each write that it refuses; so none is tried but the heartbeat's.
func TestARedisThatTakesNoWritesIsAskedForThemOnceASecond(t *testing.T) {
	for name, row := range map[string]struct{ refuse, take []any }{
		"read-only":     {[]any{"replicaof", "127.0.0.1", "1"}, []any{"replicaof", "no", "one"}},
		"out of memory": {[]any{"config", "set", "maxmemory", "1"}, []any{"config", "set", "maxmemory", "0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, operator, a := hearing(t)
			token := fill(t, a.Cache, "held")
			do(t, operator, row.refuse...)
			refused := 0
			for range 100 {
				_, err := a.Lease(t.Context(), "p")
				if err == nil {
					t.Fatal("a lease was taken")
				}
				if !errors.Is(err, redisstore.ErrNoWrites) {
					refused++
				}
			}
			if refused > 1 || a.Writable() || !a.Healthy() {
				t.Errorf("%d of 100 writes were tried; writable: %v, healthy: %v", refused, a.Writable(), a.Healthy())
			}
			if got, err := a.Get(t.Context(), "held"); err != nil || got.State != auth.Held {
				t.Errorf("reading: state %d, %v", got.State, err)
			}
			do(t, operator, row.take...)
			until(t, "writes are taken again", a.Writable)
			if released, err := a.Release(t.Context(), "held", token); err != nil || !released {
				t.Errorf("release: %v, %v", released, err)
			}
		})
	}
}

func TestASubscriptionSurvivesARedisThatCannotWrite(t *testing.T) {
	t.Parallel()
	_, operator, a := hearing(t)
	fill(t, a.Cache, "p")
	do(t, operator, "config", "set", "maxmemory", "1")
	mark, began := a.Mark(), time.Now()
	for time.Since(began) < 4*time.Second {
		if !a.Subscribed() || count(a.Since(mark), auth.Demote) > 0 {
			t.Fatalf("the subscription was given up after %v", time.Since(began))
		}
		pollAgain()
	}
	do(t, operator, "del", "org:prefix:p")
	a.Await(t, mark, auth.Look, "p")
}
