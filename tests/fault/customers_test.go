package fault

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// customers use keys that work, each key several times a second, and note what they see.
type customers struct {
	web *http.Client
	end func()

	mu    sync.Mutex
	phase *phase
}

// phase is what customers have seen in a stretch of time.
type phase struct {
	took   []time.Duration
	failed map[int]int     // by status
	keys   map[string]bool // whose requests failed
}

const (
	customerCount = 8
	customerPause = 8 * time.Millisecond // 1,000 requests a second in all
)

// newCustomers starts customers, who turn to each of the proxies.
func newCustomers(tb testing.TB, edges []*edge, keys []apiKey) *customers {
	transport := &http.Transport{MaxIdleConnsPerHost: customerCount, DisableCompression: true}
	c := &customers{web: &http.Client{Transport: transport, Timeout: patience}, phase: newPhase()}
	quit := make(chan struct{})
	var group sync.WaitGroup
	var number atomic.Int64
	for range customerCount {
		group.Go(func() {
			tick := time.NewTicker(customerPause)
			defer tick.Stop()
			for {
				select {
				case <-quit:
					return
				case <-tick.C:
				}
				n := int(number.Add(1))
				key := keys[n/len(edges)%len(keys)].Key
				c.note(key, edges[n%len(edges)].ask(c.web, key))
			}
		})
	}
	c.end = sync.OnceFunc(func() {
		close(quit)
		group.Wait()
		transport.CloseIdleConnections()
	})
	tb.Cleanup(c.end)
	return c
}

func newPhase() *phase { return &phase{failed: make(map[int]int), keys: make(map[string]bool)} }

func (c *customers) note(key string, got told) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phase.took = append(c.phase.took, got.took)
	if got.status != http.StatusOK {
		c.phase.failed[got.status]++
		c.phase.keys[key] = true
	}
}

// begin begins another phase, and returns what was seen in the one before.
func (c *customers) begin() *phase {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.phase
	c.phase = newPhase()
	slices.Sort(before.took)
	return before
}

// quantile of latencies in order.
func quantile(took []time.Duration, q float64) time.Duration {
	if len(took) == 0 {
		return 0
	}
	return took[min(int(q*float64(len(took))), len(took)-1)]
}

func (p *phase) failures() (n int) {
	for _, count := range p.failed {
		n += count
	}
	return n
}
