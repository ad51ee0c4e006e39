package redisstore_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/proxy/auth/redisstore"
	"keygate/tests/servers"
)

// member is a proxy that runs, and the operator's client of the server it shares.
type member struct {
	*redisstore.Cache
	*authtest.Listener
	stop func()
}

// join starts a proxy and returns once it hears.
func join(t *testing.T, cfg redisstore.Config) member {
	t.Helper()
	c := open(t, cfg)
	listener, stop := authtest.ListenUntil(t, c)
	t.Cleanup(stop)
	listener.Await(t, 0, auth.Demote, "")
	return member{c, listener, stop}
}

func hearing(t *testing.T) (*servers.RedisServer, *redis.Client, member) {
	t.Helper()
	server := servers.StartRedis(t)
	return server, connect(t, server.URL()), join(t, config(t, server.URL(), "a", ""))
}

// fill leases and stores a record under prefix.
func fill(t *testing.T, c *redisstore.Cache, prefix string) auth.Token {
	t.Helper()
	leased, err := c.Lease(t.Context(), prefix)
	if err != nil || leased.State != auth.Absent {
		t.Fatalf("leasing %s: state %d, %v", prefix, leased.State, err)
	}
	if stored, err := c.Store(t.Context(), prefix, leased.Token, authtest.NewRecord(leased.Now)); err != nil || !stored {
		t.Fatalf("storing %s: %v, %v", prefix, stored, err)
	}
	held, err := c.Get(t.Context(), prefix)
	if err != nil || held.State != auth.Held {
		t.Fatalf("reading %s: state %d, %v", prefix, held.State, err)
	}
	return held.Token
}

func TestADelIsHeardAsALook(t *testing.T) {
	_, operator, a := hearing(t)
	fill(t, a.Cache, "p")
	a.Await(t, 0, auth.Look, "p")
	mark, began := a.Mark(), time.Now()
	do(t, operator, "del", "org:prefix:p")
	if took := a.Await(t, mark, auth.Look, "p").Sub(began); took > time.Second {
		t.Errorf("heard after %v", took)
	}
}

func TestOurOwnLeaseFillAndReleaseAreHeardAsLooks(t *testing.T) {
	_, _, a := hearing(t)
	leased, err := a.Lease(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	a.Await(t, 0, auth.Look, "p")
	mark := a.Mark()
	if _, err := a.Store(t.Context(), "p", leased.Token, authtest.NewRecord(leased.Now)); err != nil {
		t.Fatal(err)
	}
	a.Await(t, mark, auth.Look, "p")
	mark = a.Mark()
	if _, err := a.Release(t.Context(), "p", fill(t, a.Cache, "q")); err != nil {
		t.Fatal(err)
	}
	a.Await(t, mark, auth.Look, "q")
}

func TestAnExpiryIsHeardAsALook(t *testing.T) {
	_, operator, a := hearing(t)
	do(t, operator, "set", "org:prefix:p", "anything", "px", 500)
	a.Await(t, 0, auth.Look, "p")
	a.Await(t, a.Mark(), auth.Look, "p")
}

func TestOtherKeysAreNotHeard(t *testing.T) {
	_, operator, a := hearing(t)
	mark := a.Mark()
	do(t, operator, "set", "other:prefix:x", "1")
	do(t, operator, "set", "org:prefix:last", "1")
	a.Await(t, mark, auth.Look, "last")
	for _, c := range a.Since(mark) {
		if len(c.Prefixes) != 1 || c.Prefixes[0] != "last" {
			t.Errorf("heard %+v", c)
		}
	}
}

func TestNothingIsLostInALongRow(t *testing.T) {
	_, operator, a := hearing(t)
	const keys = 20_000
	mark := a.Mark()
	for from := 0; from < keys; from += 1000 {
		_, err := operator.Pipelined(t.Context(), func(pipe redis.Pipeliner) error {
			for i := from; i < from+1000; i++ {
				pipe.Set(t.Context(), fmt.Sprintf("org:prefix:%d", i), "1", 0)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	do(t, operator, "set", "org:prefix:last", "1")
	a.Await(t, mark, auth.Look, "last")
	heard := make(map[string]bool, keys)
	for _, c := range a.Since(mark) {
		for _, prefix := range c.Prefixes {
			heard[prefix] = true
		}
	}
	if len(heard) != keys+1 {
		t.Errorf("heard of %d of %d keys", len(heard), keys+1)
	}
}

func TestAFlushDemotesAll(t *testing.T) {
	for _, command := range []string{"flushall", "flushdb"} {
		t.Run(command, func(t *testing.T) {
			_, operator, a := hearing(t)
			subscriber := do(t, operator, "client", "list", "type", "pubsub").(string)
			mark := a.Mark()
			do(t, operator, command)
			a.Await(t, mark, auth.Demote, "")
			do(t, operator, "set", "org:prefix:p", "1")
			a.Await(t, mark, auth.Look, "p")
			id, _, _ := strings.Cut(subscriber, " ")
			if now := do(t, operator, "client", "list", "type", "pubsub").(string); !strings.HasPrefix(now, id+" ") {
				t.Errorf("the subscription was made anew:\n%s%s", subscriber, now)
			}
			if n := count(a.Since(mark), auth.Demote); n != 1 {
				t.Errorf("%d demotes", n)
			}
		})
	}
}

func count(changes []auth.Change, verb auth.Verb) (n int) {
	for _, c := range changes {
		if c.Verb == verb {
			n++
		}
	}
	return n
}

func TestAKilledSubscriptionComesBackAndDemotes(t *testing.T) {
	_, operator, a := hearing(t)
	for range 3 {
		mark := a.Mark()
		if n := do(t, operator, "client", "kill", "type", "pubsub"); n != int64(1) {
			t.Fatalf("killed %v connections", n)
		}
		a.Await(t, mark, auth.Demote, "")
		do(t, operator, "set", "org:prefix:p", "1")
		a.Await(t, mark, auth.Look, "p")
	}
}

func TestAWriteDuringTheGapIsCoveredByTheDemote(t *testing.T) {
	_, operator, a := hearing(t)
	fill(t, a.Cache, "p")
	mark := a.Mark()
	_, err := operator.TxPipelined(t.Context(), func(pipe redis.Pipeliner) error {
		pipe.Do(t.Context(), "client", "kill", "type", "pubsub")
		pipe.Del(t.Context(), "org:prefix:p")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	a.Await(t, mark, auth.Demote, "")
	if got, err := a.Get(t.Context(), "p"); err != nil || got.State != auth.Absent {
		t.Errorf("state %d, %v", got.State, err)
	}
}

func TestARestartedServerIsHeardAgain(t *testing.T) {
	server, operator, a := hearing(t)
	mark := a.Mark()
	server.Kill()
	server.Start()
	a.Await(t, mark, auth.Demote, "")
	do(t, operator, "set", "org:prefix:p", "1")
	a.Await(t, mark, auth.Look, "p")
}

func TestAServerThatStartsLateIsHeard(t *testing.T) {
	server := servers.StartRedis(t)
	server.Kill()
	c := open(t, config(t, server.URL(), "a", ""))
	listener := authtest.Listen(t, c)
	if _, err := c.Get(t.Context(), "p"); err == nil {
		t.Fatal("read from a server that is down")
	}
	server.Start()
	listener.Await(t, 0, auth.Demote, "")
	do(t, connect(t, server.URL()), "set", "org:prefix:p", "1")
	listener.Await(t, 0, auth.Look, "p")
}

func TestAHalfOpenLinkIsNoticed(t *testing.T) {
	t.Parallel()
	server, operator, a := hearing(t)
	server.Pause()
	began := time.Now()
	for a.Subscribed() {
		if time.Since(began) > authtest.Patience {
			t.Fatal("not noticed")
		}
		pollAgain()
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("noticed after %v", took)
	}
	mark := a.Mark()
	server.Continue()
	a.Await(t, mark, auth.Demote, "")
	do(t, operator, "set", "org:prefix:p", "1")
	a.Await(t, mark, auth.Look, "p")
}

func pollAgain() { <-time.After(time.Millisecond) }

func TestARisenFloorThatWasMissedRemovesAll(t *testing.T) {
	t.Parallel()
	server, operator, a := hearing(t)
	fill(t, a.Cache, "p")
	mark := a.Mark()
	// Somebody raised the floor, and the message was lost.
	now := do(t, operator, "time").([]any)
	do(t, operator, "set", "keygate:floor", fmt.Sprint(now[0])+"999")
	a.Await(t, mark, auth.Remove, "")
	if got, err := a.Get(t.Context(), "p"); err != nil || got.State != auth.Forged {
		t.Errorf("state %d, %v", got.State, err)
	}
	// A restart of the server loses the floor: it is told again.
	server.Kill()
	server.Start()
	began := time.Now()
	for do(t, operator, "exists", "keygate:floor") != int64(1) {
		if time.Since(began) > authtest.Patience {
			t.Fatal("the floor was not restored")
		}
		pollAgain()
	}
}

func TestAnOldFloorRemovesNothingFromAYoungProxy(t *testing.T) {
	server := servers.StartRedis(t)
	do(t, connect(t, server.URL()), "set", "keygate:floor", time.Now().Add(-time.Minute).UnixMilli())
	a := join(t, config(t, server.URL(), "a", ""))
	if n := count(a.Since(0), auth.Remove); n != 0 {
		t.Errorf("%d removes", n)
	}
}

func TestADemoteComesAfterTheSubscriptionIsConfirmed(t *testing.T) {
	server := servers.StartRedis(t)
	operator := connect(t, server.URL())
	c := open(t, config(t, server.URL(), "a", ""))
	ctx, cancel := context.WithCancel(t.Context())
	tracked := make(chan string, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- c.Run(ctx, func(change auth.Change) {
			if change.Verb == auth.Demote {
				list, _ := operator.ClientList(context.Background()).Result()
				tracked <- list
			}
		})
	}()
	list := <-tracked
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Errorf("Run returned %v", err)
	}
	if !strings.Contains(list, "flags=PtB") || !strings.Contains(list, "sub=3") {
		t.Errorf("when all were demoted, no connection was tracking and subscribed:\n%s", list)
	}
}
