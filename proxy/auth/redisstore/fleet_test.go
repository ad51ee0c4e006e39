package redisstore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/tests/servers"
)

// The time that the caller of Invalidate gives it in production. Tests on a busy machine give more where all is well.
const patience = 250 * time.Millisecond

func invalidate(t *testing.T, m member, limit time.Duration, scope auth.Scope) auth.Receipt {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	receipt, err := m.Invalidate(ctx, scope)
	if err != nil {
		t.Fatal(err)
	}
	return receipt
}

func expect(t *testing.T, got auth.Receipt, confirmed, proxies int) {
	t.Helper()
	if want := (auth.Receipt{Confirmed: confirmed, Proxies: proxies}); got != want {
		t.Fatalf("%+v, want %+v", got, want)
	}
}

// fleet starts proxies a, b, … that share a server.
func fleet(t *testing.T, size int, secret string) (*servers.RedisServer, *redis.Client, []member) {
	t.Helper()
	server := servers.StartRedis(t)
	members := make([]member, size)
	for i := range members {
		members[i] = join(t, config(t, server.URL(), string(rune('a'+i)), secret))
	}
	return server, connect(t, server.URL()), members
}

func TestEveryProxyConfirmsAnInvalidation(t *testing.T) {
	for name, secret := range map[string]string{"without a secret": "", "with a secret": secret} {
		t.Run(name, func(t *testing.T) {
			_, _, m := fleet(t, 3, secret)
			fill(t, m[0].Cache, "p")
			marks := []int{m[0].Mark(), m[1].Mark(), m[2].Mark()}
			expect(t, invalidate(t, m[1], authtest.Patience, auth.Scope{Prefixes: []string{"p", "q"}}), 3, 3)
			for i := range m {
				heard := m[i].Since(marks[i])
				if n := count(heard, auth.Remove); n != 1 {
					t.Errorf("proxy %d was told to remove %d times by the time it was confirmed: %+v", i, n, heard)
				}
				m[i].Await(t, marks[i], auth.Remove, "q")
			}
			if got, err := m[2].Get(t.Context(), "p"); err != nil || got.State != auth.Absent {
				t.Errorf("state %d, %v", got.State, err)
			}
		})
	}
}

func TestAnInvalidationOfAllVoidsEveryRecordEverywhere(t *testing.T) {
	t.Parallel()
	_, operator, m := fleet(t, 2, secret)
	fill(t, m[0].Cache, "p")
	marks := []int{m[0].Mark(), m[1].Mark()}
	expect(t, invalidate(t, m[0], authtest.Patience, auth.Scope{All: true}), 2, 2)
	for i := range m {
		if n := count(m[i].Since(marks[i]), auth.Remove); n != 1 {
			t.Errorf("proxy %d was told to remove %d times by the time it was confirmed", i, n)
		}
		if got, err := m[i].Get(t.Context(), "p"); err != nil || got.State != auth.Forged {
			t.Errorf("state %d, %v", got.State, err)
		}
	}
	twoBeats(t, operator)
	for i := range m {
		if n := count(m[i].Since(marks[i]), auth.Remove); n != 1 {
			t.Errorf("proxy %d was told to remove %d times in the end", i, n)
		}
	}
}

// twoBeats waits until proxies a and b have compared the floor once more.
func twoBeats(t *testing.T, operator *redis.Client) {
	t.Helper()
	for _, proxy := range []string{"a", "b"} {
		beat := lastBeat(t, operator, proxy)
		until(t, "another heartbeat or two", func() bool { return lastBeat(t, operator, proxy) >= beat+1500 })
	}
}

// Each proxy is told once per invalidation, however close they follow each other.
func TestEveryOneOfManyInvalidationsOfAllIsHeardOnce(t *testing.T) {
	_, _, m := fleet(t, 2, "")
	mark := m[1].Mark()
	const times = 50
	for range times {
		expect(t, invalidate(t, m[0], authtest.Patience, auth.Scope{All: true}), 2, 2)
	}
	if n := count(m[1].Since(mark), auth.Remove); n != times {
		t.Errorf("%d removes", n)
	}
}

// Evict of all tells others by the floor alone, and who evicted has removed its own copies before.
func TestARaisedFloorRemovesAllElsewhereWithoutAMessage(t *testing.T) {
	t.Parallel()
	_, operator, m := fleet(t, 2, "")
	marks := []int{m[0].Mark(), m[1].Mark()}
	if err := m[0].Evict(t.Context(), auth.Scope{All: true}); err != nil {
		t.Fatal(err)
	}
	m[1].Await(t, marks[1], auth.Remove, "")
	twoBeats(t, operator)
	if n := count(m[0].Since(marks[0]), auth.Remove); n != 0 {
		t.Errorf("who evicted was told to remove %d times", n)
	}
	if n := count(m[1].Since(marks[1]), auth.Remove); n != 1 {
		t.Errorf("the other was told to remove %d times", n)
	}
}

func lastBeat(t *testing.T, operator *redis.Client, proxy string) float64 {
	t.Helper()
	score, err := operator.ZScore(t.Context(), "keygate:proxies", proxy).Result()
	if err != nil {
		t.Fatal(err)
	}
	return score
}

func TestThousandsOfPrefixesAreInvalidatedAtOnce(t *testing.T) {
	_, _, m := fleet(t, 2, secret)
	prefixes := make([]string, 10_000)
	for i := range prefixes {
		prefixes[i] = fmt.Sprintf("zap_live_%012d", i)
	}
	fill(t, m[1].Cache, prefixes[9999])
	mark := m[1].Mark()
	expect(t, invalidate(t, m[0], authtest.Patience, auth.Scope{Prefixes: prefixes}), 2, 2)
	heard := 0
	for _, c := range m[1].Since(mark) {
		if c.Verb == auth.Remove {
			heard += len(c.Prefixes)
		}
	}
	if heard != len(prefixes) {
		t.Errorf("%d of %d prefixes were removed", heard, len(prefixes))
	}
	if got, err := m[0].Get(t.Context(), prefixes[9999]); err != nil || got.State != auth.Absent {
		t.Errorf("state %d, %v", got.State, err)
	}
}

func TestAnInvalidationOfNothingIsComplete(t *testing.T) {
	_, _, m := fleet(t, 2, "")
	expect(t, invalidate(t, m[0], authtest.Patience, auth.Scope{}), 2, 2)
}

func inHalfAMinute() int64 { return time.Now().Add(30 * time.Second).UnixMilli() }

func TestAProxyThatLivesButDoesNotAnswerIsNotConfirmed(t *testing.T) {
	_, operator, m := fleet(t, 2, "")
	do(t, operator, "zadd", "keygate:proxies", inHalfAMinute(), "silent")
	expect(t, invalidate(t, m[0], patience, auth.Scope{Prefixes: []string{"p"}}), 2, 3)
}

func TestAProxyWhoseHeartbeatIsOldIsNotWaitedFor(t *testing.T) {
	_, operator, m := fleet(t, 2, "")
	do(t, operator, "zadd", "keygate:proxies", time.Now().Add(-time.Second).UnixMilli(), "dead")
	expect(t, invalidate(t, m[0], authtest.Patience, auth.Scope{Prefixes: []string{"p"}}), 2, 2)
}

func TestAProxyThatLeftIsNotWaitedFor(t *testing.T) {
	_, operator, m := fleet(t, 2, "")
	m[1].stop()
	if n := do(t, operator, "zcard", "keygate:proxies"); n != int64(1) {
		t.Errorf("%d proxies are listed", n)
	}
	expect(t, invalidate(t, m[0], authtest.Patience, auth.Scope{Prefixes: []string{"p"}}), 1, 1)
}

func TestAProxyIsCountedThoughRedisLostTheList(t *testing.T) {
	_, operator, m := fleet(t, 1, "")
	do(t, operator, "zadd", "keygate:proxies", inHalfAMinute(), "partitioned")
	expect(t, invalidate(t, m[0], patience, auth.Scope{Prefixes: []string{"p"}}), 1, 2)
	do(t, operator, "flushall")
	expect(t, invalidate(t, m[0], patience, auth.Scope{Prefixes: []string{"p"}}), 1, 2)
	// Once it is back and leaves, it counts no more.
	do(t, operator, "zadd", "keygate:proxies", inHalfAMinute(), "partitioned")
	expect(t, invalidate(t, m[0], patience, auth.Scope{Prefixes: []string{"p"}}), 1, 2)
	do(t, operator, "zrem", "keygate:proxies", "partitioned")
	expect(t, invalidate(t, m[0], authtest.Patience, auth.Scope{Prefixes: []string{"p"}}), 1, 1)
}

func TestAnInvalidationFailsWhileRedisIsDown(t *testing.T) {
	server, _, m := fleet(t, 1, "")
	server.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if receipt, err := m[0].Invalidate(ctx, auth.Scope{Prefixes: []string{"p"}}); err == nil {
		t.Errorf("%+v and no error", receipt)
	}
}

func TestFleetsWithOtherPrefixesOrDatabasesAreLeftAlone(t *testing.T) {
	server, _, m := fleet(t, 1, "")
	fill(t, m[0].Cache, "p")
	other := config(t, server.URL(), "b", "")
	other.KeyPrefix = "staging:"
	b := join(t, other)
	c := join(t, config(t, server.URL()[:len(server.URL())-1]+"3", "c", ""))
	mark := m[0].Mark()
	expect(t, invalidate(t, b, authtest.Patience, auth.Scope{All: true}), 1, 1)
	expect(t, invalidate(t, c, authtest.Patience, auth.Scope{Prefixes: []string{"p"}}), 1, 1)
	if got, err := m[0].Get(t.Context(), "p"); err != nil || got.State != auth.Held {
		t.Errorf("state %d, %v", got.State, err)
	}
	if n := count(m[0].Since(mark), auth.Remove); n != 0 {
		t.Errorf("%d removes", n)
	}
}

func TestMessagesWithoutASealAreIgnored(t *testing.T) {
	_, operator, m := fleet(t, 2, secret)
	mark := m[0].Mark()
	forged := `{"kind":"remove","from":"b","id":"x","prefixes":["p"]}`
	for _, payload := range []string{forged, "00" + forged, "zz" + forged, "", "nonsense", "{", `{"kind":1}`} {
		do(t, operator, "publish", "keygate:bus", payload)
	}
	expect(t, invalidate(t, m[1], authtest.Patience, auth.Scope{Prefixes: []string{"q"}}), 2, 2)
	if n := count(m[0].Since(mark), auth.Remove); n != 1 {
		t.Errorf("%d removes", n)
	}
}

func TestASealedMessageIsOnlyGoodForItsChannel(t *testing.T) {
	_, operator, m := fleet(t, 2, secret)
	spy := operator.Subscribe(t.Context(), "keygate:bus")
	t.Cleanup(func() { _ = spy.Close() })
	if _, err := spy.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, invalidate(t, m[1], authtest.Patience, auth.Scope{Prefixes: []string{"p"}}), 2, 2)
	heard, err := spy.ReceiveMessage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mark := m[0].Mark()
	do(t, operator, "publish", "keygate:bus:a", heard.Payload)
	do(t, operator, "set", "org:prefix:last", "1")
	m[0].Await(t, mark, auth.Look, "last")
	if n := count(m[0].Since(mark), auth.Remove); n != 0 {
		t.Errorf("%d removes", n)
	}
}

// A Redis that takes no writes keeps no heartbeats. Whoever is not on the list any more may live all the same.
func TestAFleetWhoseHeartbeatsAreNotKeptIsNotTakenForDead(t *testing.T) {
	t.Parallel()
	server := servers.StartRedis(t)
	operator := connect(t, server.URL())
	var m []member
	for _, id := range []string{"a", "b"} {
		cfg := config(t, server.URL(), id, "")
		cfg.Alive = 4 * time.Second
		m = append(m, join(t, cfg))
	}
	expect(t, invalidate(t, m[0], authtest.Patience, auth.Scope{Prefixes: []string{"p"}}), 2, 2)
	do(t, operator, "config", "set", "maxmemory", "1")
	began := time.Now()
	until(t, "heartbeats have run out", func() bool { return time.Since(began) > 5*time.Second })
	claims := func() (auth.Receipt, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return m[0].Invalidate(ctx, auth.Scope{Prefixes: []string{"p"}})
	}
	mark := m[1].Mark()
	if got, err := claims(); err == nil && got.Confirmed == got.Proxies {
		t.Errorf("%+v, as if it were complete", got)
	}
	m[1].Await(t, mark, auth.Remove, "p") // it was told, although nobody can say so
	do(t, operator, "config", "set", "maxmemory", "0")
	until(t, "both are counted again", func() bool {
		got, err := claims()
		if err == nil && got.Proxies == 1 {
			t.Fatalf("%+v, as if there were one proxy", got)
		}
		return err == nil && got == auth.Receipt{Confirmed: 2, Proxies: 2}
	})
}

// How long a proxy may hold copies is for itself to say.
func TestAProxyCountsForAsLongAsItsOwnCopiesLive(t *testing.T) {
	t.Parallel()
	server, operator, others := fleet(t, 1, "") // of 33 seconds
	cfg := config(t, server.URL(), "brief", "")
	cfg.Alive = time.Second
	m := join(t, cfg)
	score, err := operator.ZScore(t.Context(), "keygate:proxies", "a").Result()
	if err != nil {
		t.Fatal(err)
	}
	others[0].stop()
	do(t, operator, "zadd", "keygate:proxies", score, "a") // as if it had been cut off instead
	began := time.Now()
	until(t, "a brief proxy would be taken for dead", func() bool { return time.Since(began) > 2*time.Second })
	expect(t, invalidate(t, m, patience, auth.Scope{Prefixes: []string{"p"}}), 1, 2)
}
