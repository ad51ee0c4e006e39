//go:build long

package main

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	coldRequests = 10_000
	// A look-up that takes longer is given up, and its waiters are answered 503. The next request begins another one.
	lookupLimit = 500 * time.Millisecond
)

// countedTable counts in a sequence how often a key is looked up, and takes a while for it, in which all others can come.
var countedTable = table{
	name: "counted table", schema: foreignSchema + "; create sequence asked",
	flags: []string{"--key-prefix-length", prefixLength, "--key-query", "select id as org_id, api_key_hash as key_hash " +
		"from (select nextval('asked'), pg_sleep(0.05)) slow, customers where api_key_prefix = $1"},
	keys: "customers", prefix: "api_key_prefix", hash: "api_key_hash", disables: "active = false",
}

// By the database's own count and by that of the proxies. A machine that is too busy to answer all within the time of one
// look-up is allowed one more for each proxy and such a time, and one for each answer of Redis that came too late: whoever
// misses it asks for itself.
func TestTenThousandRequestsForOneColdKeyOnTwoProxiesAreTwoQueriesAtMost(t *testing.T) {
	keys, err := mint(3)
	if err != nil {
		t.Fatal(err)
	}
	f := newFleet(t, newBench(t), plan{table: countedTable, size: 2, keys: keys})
	clients := make([]*client, coldRequests)
	for i := range clients {
		// The door that forwards nothing, because ten thousand connections to an upstream would be what takes the time.
		clients[i] = newClient(f.proxies[i%2].verify)
		if err := clients[i].connect(); err != nil {
			t.Fatal(err)
		}
		defer clients[i].close()
	}
	for _, k := range keys {
		before := f.counts(t)
		took, again := atOnce(t, clients, k)
		after := f.counts(t)
		asked, most := after.database-before.database, 2*(1+int(took/lookupLimit))+int(after.late-before.late)
		// The proxies also count what was given up before the database began with it.
		if counted := int(after.proxies - before.proxies); asked < 1 || counted < asked || counted > most {
			t.Errorf("the database was asked %d times, and %d times by the proxies' count, of at most %d", asked, counted, most)
		}
		t.Logf("%d requests answered in %v, %d of them when sent again; %d queries, %v late answers of Redis", len(clients), took, again, asked,
			after.late-before.late)
	}
}

// atOnce has all clients ask with one key until they are let through, and returns how long that took and how often one had
// to ask again.
func atOnce(t *testing.T, clients []*client, k key) (took time.Duration, again int64) {
	t.Helper()
	var repeated atomic.Int64
	var all sync.WaitGroup
	start := make(chan struct{})
	for i, c := range clients {
		all.Go(func() {
			<-start
			status, err := c.ask(k.text)
			for began := time.Now(); status == http.StatusServiceUnavailable && time.Since(began) < patience; {
				repeated.Add(1)
				<-time.After(time.Second) // as Retry-After says
				status, err = c.ask(k.text)
			}
			if !passes(status) {
				t.Errorf("request %d is answered %d: %v", i, status, err)
			}
		})
	}
	began := time.Now()
	close(start)
	all.Wait()
	return time.Since(began), repeated.Load()
}

// counts are how often keys have been looked up, as the database and the proxies count it.
type counts struct {
	database int
	proxies  float64
	late     float64 // round trips to Redis that timed out
}

func (f *fleet) counts(t *testing.T) (c counts) {
	t.Helper()
	const question = "select case when is_called then last_value else 0 end from asked"
	err := f.db.QueryRow(t.Context(), question).Scan(&c.database)
	if err != nil {
		t.Fatal(err)
	}
	if c.proxies, err = f.sourceQueries(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, one := range f.proxies {
		all, err := one.scrape(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for series, n := range all {
			if strings.HasPrefix(series, "keygate_proxy_redis_round_trips_total{") && strings.Contains(series, `"timeout"`) {
				c.late += n
			}
		}
	}
	return c
}
