package main

import (
	"net"
	"sync"
	"testing"
	"time"
)

const coldRequests = 10_000

// countedTable counts in a sequence how often a key is looked up, and takes 0.2 s for it, in which all others can come.
var countedTable = table{
	name: "counted table", schema: foreignSchema + "; create sequence asked",
	flags: []string{"--key-prefix-length", prefixLength, "--key-query", "select id as org_id, api_key_hash as key_hash " +
		"from (select nextval('asked'), pg_sleep(0.2)) slow, customers where api_key_prefix = $1"},
	keys: "customers", prefix: "api_key_prefix", hash: "api_key_hash", disables: "active = false",
}

// All requests have been written before the first look-up is over, and two proxies ask the database twice at most, by its
// own count and by theirs.
func TestTenThousandRequestsForOneColdKeyOnTwoProxiesAreTwoQueriesAtMost(t *testing.T) {
	keys, err := mint(3)
	if err != nil {
		t.Fatal(err)
	}
	f := newFleet(t, newBench(t), plan{table: countedTable, size: 2, keys: keys})
	clients := make([]*client, coldRequests)
	for i := range clients {
		// Fewer than a listener's backlog at once, and not all from one address, which has too few ports.
		clients[i] = newClient(f.proxies[i%2].addr, net.IPv4(127, 0, 1, byte(i%8)))
		if err := clients[i].connect(); err != nil {
			t.Fatal(err)
		}
		defer clients[i].close()
	}
	for round, k := range keys {
		before := f.queries(t)
		counted, err := f.sourceQueries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		statuses := make([]int, len(clients))
		var all sync.WaitGroup
		start := make(chan struct{})
		for i, c := range clients {
			all.Go(func() {
				<-start
				status, _, err := c.exchange(k.text)
				if statuses[i] = status; err != nil {
					t.Errorf("request %d: %v", i, err)
				}
			})
		}
		began := time.Now()
		close(start)
		all.Wait()
		for i, status := range statuses {
			if !passes(status) {
				t.Fatalf("request %d is answered %d", i, status)
			}
		}
		after, err := f.sourceQueries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		asked := f.queries(t) - before
		if asked < 1 || asked > 2 || int(after-counted) != asked {
			t.Errorf("the database was asked %d times, and %v times by the proxies' count", asked, after-counted)
		}
		t.Logf("round %d: %d requests answered in %v, %d queries", round, len(clients), time.Since(began), asked)
	}
}
