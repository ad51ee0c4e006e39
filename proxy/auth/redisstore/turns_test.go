package redisstore_test

import (
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keygate/proxy/auth/redisstore"
	"keygate/tests/servers"
)

// far leads to a server whose answers take a while each. It returns its address.
func far(t *testing.T, server *servers.RedisServer, delay time.Duration) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { forward(client, server.Addr(), delay) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		all.Wait()
	})
	return listener.Addr().String()
}

func forward(client net.Conn, to string, delay time.Duration) {
	defer client.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, late{server, delay})
		_ = client.Close()
	})
	_, _ = io.Copy(server, client)
	_ = server.Close()
	back.Wait()
}

type late struct {
	net.Conn
	delay time.Duration
}

func (l late) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	<-time.After(l.delay) // what it takes to get here
	return n, err
}

// Who waits while others use all connections has not waited for Redis, which answers everybody whose turn it is in time.
func TestWaitingForAConnectionIsNotWaitingForRedis(t *testing.T) {
	t.Parallel()
	server := servers.StartRedis(t)
	cfg := config(t, strings.Replace(server.URL(), server.Addr(), far(t, server, 100*time.Millisecond), 1)+"?pool_size=1", "a", "")
	cfg.Timeout = time.Second
	c := open(t, cfg)
	var all sync.WaitGroup
	var answered atomic.Int32
	for i := range 30 {
		all.Go(func() {
			switch _, err := c.Lease(t.Context(), strconv.Itoa(i)); {
			case err == nil:
				answered.Add(1)
			case !errors.Is(err, redisstore.ErrCacheDown):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := answered.Load(); n < 2 || n == 30 {
		t.Errorf("%d of 30 got a turn", n)
	}
	if !c.Healthy() {
		t.Error("a server that answered everybody is taken for away")
	}
}
