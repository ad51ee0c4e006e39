// Package servers runs real PostgreSQL and Redis servers for tests, on loopback ports of their own.
//
// Postgres and Redis give the servers that all tests share: those of `make test` (see servers/run), named by two
// environment variables, or else one of each for this test process. StartPostgres and StartRedis give a test a
// server of its own, which it may stop, kill, pause and start again.
//
// No server outlives the test process, however that ends: beside each of them a small shell script, its keeper, holds a
// pipe from that process, and when the pipe closes ends the server and removes its directory. The package keeps no
// goroutine, so that goleak has nothing to see.
package servers

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// The variables by which servers/run tells test processes of the servers that it started. Their values are URLs.
const (
	PostgresVariable = "KEYGATE_TEST_POSTGRES"
	RedisVariable    = "KEYGATE_TEST_REDIS"
)

var (
	sharedPostgres = sync.OnceValues(func() (*PostgresServer, error) {
		if url := os.Getenv(PostgresVariable); url != "" {
			return postgresAt(url)
		}
		return OpenPostgres()
	})
	sharedRedis = sync.OnceValues(func() (*RedisServer, error) {
		if url := os.Getenv(RedisVariable); url != "" {
			return redisAt(url)
		}
		return OpenRedis()
	})
)

// Postgres returns the shared server. Tests isolate themselves by a database each: see Database.
func Postgres(tb testing.TB) *PostgresServer {
	tb.Helper()
	server, err := sharedPostgres()
	if err != nil {
		tb.Fatal(err)
	}
	return server
}

// Redis returns the shared server. Other tests write to it at the same time and see each other's keys: a test that
// flushes, tracks or publishes starts its own by StartRedis, which takes about 20 ms.
func Redis(tb testing.TB) *RedisServer {
	tb.Helper()
	server, err := sharedRedis()
	if err != nil {
		tb.Fatal(err)
	}
	return server
}

// FreeAddr returns a loopback address that nobody listens on at the moment, as host:port.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	port, err := freePort()
	if err != nil {
		tb.Fatal(err)
	}
	return address(port)
}

// check ends the test that owns a server, or panics where no test does, because no caller can go on without it.
func check(tb testing.TB, err error) {
	if err == nil {
		return
	}
	if tb == nil {
		panic(err)
	}
	tb.Helper()
	tb.Fatal(err)
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
