package redisstore_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/tests/servers"
)

func port(addr string) string { return addr[strings.LastIndex(addr, ":")+1:] }

func until(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for began := time.Now(); !ready(); pollAgain() {
		if time.Since(began) > 3*authtest.Patience {
			t.Fatal("never: " + what)
		}
	}
}

// cluster starts three masters and returns the URL of a cluster and a client of each.
func cluster(t *testing.T) (string, []*servers.RedisServer, []*redis.Client) {
	t.Helper()
	var nodes []*servers.RedisServer
	var clients []*redis.Client
	var buses []string
	for i := range 3 {
		bus := port(servers.FreeAddr(t))
		node := servers.StartRedis(t, "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "2000")
		client := connect(t, node.URL())
		do(t, client, "cluster", "addslotsrange", i*16384/3, (i+1)*16384/3-1)
		nodes, clients, buses = append(nodes, node), append(clients, client), append(buses, bus)
	}
	for i := 1; i < 3; i++ {
		do(t, clients[0], "cluster", "meet", "127.0.0.1", port(nodes[i].Addr()), buses[i])
	}
	until(t, "a cluster of three", func() bool {
		for _, client := range clients {
			if info := do(t, client, "cluster", "info").(string); !strings.Contains(info, "cluster_state:ok") ||
				!strings.Contains(info, "cluster_known_nodes:3") {
				return false
			}
		}
		return true
	})
	return fmt.Sprintf("redis://%s,%s", nodes[0].Addr(), nodes[1].Addr()), nodes, clients
}

func TestAClusterKeepsTheContract(t *testing.T) {
	t.Parallel()
	url, nodes, clients := cluster(t)
	on := func(args ...any) any {
		t.Helper()
		for _, client := range clients {
			if got, err := client.Do(t.Context(), args...).Result(); err == nil || err == redis.Nil {
				return got
			}
		}
		t.Fatalf("no master takes %v", args)
		return nil
	}
	authtest.TestCache(t, func(t *testing.T) authtest.CacheFixture {
		for _, client := range clients {
			do(t, client, "flushall")
		}
		return authtest.CacheFixture{
			Cache: open(t, config(t, url, "a", secret)),
			Stale: 10 * time.Minute,
			Del:   func(prefix string) { on("del", "org:prefix:"+prefix) },
			Spoil: func(prefix string) {
				value := on("get", "org:prefix:"+prefix).(string)
				on("set", "org:prefix:"+prefix, strings.Replace(value, `"enabled":false`, `"enabled":true`, 1), "keepttl")
			},
			Occupy: func(prefix string) { on("set", "org:prefix:"+prefix, `{"id": "0198c0de", "hash": "ab"}`) },
			Left: func(prefix string) time.Duration {
				return time.Duration(on("pttl", "org:prefix:"+prefix).(int64)) * time.Millisecond
			},
		}
	})
	t.Run("every master is heard by the documented user", func(t *testing.T) {
		for _, client := range clients {
			do(t, client, append(documentedUser(t), "+cluster|slots", "+asking")...)
		}
		url := strings.Replace(url, "redis://", "redis://keygate:PASSWORD@", 1)
		a := join(t, config(t, url, "a", secret))
		b := join(t, config(t, url, "b", secret))
		until(t, "all masters are heard", func() bool { return a.Subscribed() && b.Subscribed() })
		prefixes := make([]string, 64) // spread over all masters
		for i := range prefixes {
			prefixes[i] = fmt.Sprint("p", i)
			fill(t, a.Cache, prefixes[i])
			b.Await(t, 0, auth.Look, prefixes[i])
		}
		mark := b.Mark()
		for _, prefix := range prefixes {
			on("del", "org:prefix:"+prefix)
			b.Await(t, mark, auth.Look, prefix)
		}
		expect(t, invalidate(t, a, authtest.Patience, auth.Scope{Prefixes: prefixes}), 2, 2)
		expect(t, invalidate(t, b, authtest.Patience, auth.Scope{All: true}), 2, 2)
	})
	t.Run("a master that comes back demotes all", func(t *testing.T) {
		a := join(t, config(t, url, "a", secret))
		until(t, "all masters are heard", a.Subscribed)
		mark := a.Mark()
		nodes[2].Kill()
		nodes[2].Start()
		a.Await(t, mark, auth.Demote, "")
		until(t, "all masters are heard", a.Subscribed)
	})
}

// startSentinel starts a Sentinel that watches the master called kg, and returns its address when it knows a replica.
func startSentinel(t *testing.T, master string) string {
	t.Helper()
	addr := servers.FreeAddr(t)
	conf := filepath.Join(t.TempDir(), "sentinel.conf") // which it rewrites
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\nsentinel monitor kg 127.0.0.1 %s 1\n"+
		"sentinel down-after-milliseconds kg 500\nsentinel failover-timeout kg 3000\n", port(addr), port(master))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("redis-server", conf, "--sentinel")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	watch := connect(t, "redis://"+addr)
	until(t, "the Sentinel knows the replica", func() bool {
		replicas, err := watch.Do(t.Context(), "sentinel", "replicas", "kg").Slice()
		return err == nil && len(replicas) == 1
	})
	return addr
}

func TestASentinelFailOverIsFollowed(t *testing.T) {
	t.Parallel()
	master := servers.StartRedis(t, "--repl-diskless-sync-delay", "0")
	replica := servers.StartRedis(t, "--replicaof", "127.0.0.1", port(master.Addr()))
	sentinel := startSentinel(t, master.Addr())
	a := join(t, config(t, "redis://"+sentinel+"/0?master_name=kg", "a", secret))
	fill(t, a.Cache, "p")
	onReplica := connect(t, replica.URL())
	until(t, "replication", func() bool { return do(t, onReplica, "exists", "org:prefix:p") == int64(1) })

	mark := a.Mark()
	master.Kill()
	until(t, "a fail-over", func() bool {
		return strings.Contains(do(t, onReplica, "info", "replication").(string), "role:master")
	})
	a.Await(t, mark, auth.Demote, "")
	if got, err := a.Get(t.Context(), "p"); err != nil || got.State != auth.Held {
		t.Errorf("state %d, %v", got.State, err)
	}
	do(t, onReplica, "del", "org:prefix:p")
	a.Await(t, mark, auth.Look, "p")
	until(t, "a heartbeat on the new master", func() bool {
		receipt, err := a.Invalidate(t.Context(), auth.Scope{Prefixes: []string{"p"}})
		return err == nil && receipt == auth.Receipt{Confirmed: 1, Proxies: 1}
	})
}
