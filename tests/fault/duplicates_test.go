package fault

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keygate/shared/uuid7"
	"keygate/tests/servers"
)

// In every request this many of the events are of the shared ones, each of which is sent about sharedTimes: that makes
// one event of twenty a duplicate, of one that is often still on its way through the other writer.
const (
	rivals      = 200 // clients
	batchSize   = 40
	sharedSize  = 3
	sharedTimes = 12
)

// contest is two writers over one database. Clients of the first send keys in ascending order, those of the second in
// descending order. What they are answered is in the book.
type contest struct {
	*book
	writers [2]*program
	web     *http.Client

	shared     []*entry // guarded by book.mu, as is the rest
	draws      int
	acceptions map[*entry]int
	duplicates int
}

// runContest holds contests, of which each is short enough for a book in memory.
func runContest(t *testing.T, length, leg time.Duration) {
	seed, url := newSeed(t), servers.Postgres(t).Database(t)
	env := []string{"DATABASE_URL=" + url}
	command(t, env, "writer", "migrate", "up")
	events, duplicates := 0, 0
	for began, n := time.Now(), uint64(0); time.Since(began) < length && !t.Failed(); n++ {
		c := &contest{book: newBook(t), acceptions: make(map[*entry]int)}
		for i := range c.writers {
			c.writers[i] = newProgram(t, "writer", env, "--trust-network")
			c.writers[i].start()
			c.writers[i].ready()
		}
		c.run(seed+n, min(leg, length))
		for _, w := range c.writers {
			w.stop()
			if strings.Contains(w.log.String(), "does not take events") {
				t.Errorf("a writer was in trouble:\n%s", w.log.String())
			}
		}
		events += c.check(url)
		duplicates += c.duplicates
		execute(t, url, "truncate events, event_deliveries")
	}
	// Each session adds its own to this at its end.
	if n := ask(t, url, "select deadlocks from pg_stat_database where datname = current_database()"); n > 0 {
		t.Errorf("%d deadlocks", n)
	}
	t.Logf("%d events stored, %d more requests for them answered as duplicates (%.1f %%)", events, duplicates,
		100*float64(duplicates)/float64(events+duplicates))
}

func (c *contest) run(seed uint64, length time.Duration) {
	transport := &http.Transport{MaxIdleConnsPerHost: rivals}
	c.web = &http.Client{Transport: transport, Timeout: patience}
	var group sync.WaitGroup
	for n, began := 0, time.Now(); n < rivals; n++ {
		group.Go(func() {
			for rng := source(seed, n); time.Since(began) < length && !c.tb.Failed(); {
				c.request(rng, n%len(c.writers))
			}
		})
	}
	group.Wait()
	transport.CloseIdleConnections()
}

// draw returns the events of a request, sorted by their dedup ids.
func (c *contest) draw(rng *rand.Rand) []*entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	var batch []*entry
	add := func() *entry {
		e := &entry{number: int64(len(c.entries)), org: "acme"}
		e.dedup = fmt.Sprintf("%08x-%d", rng.Uint32(), e.number)
		c.entries = append(c.entries, e)
		return e
	}
	for range batchSize - sharedSize {
		batch = append(batch, add())
	}
	for range sharedSize {
		at := c.draws / sharedTimes * sharedSize
		for len(c.shared) < at+2*sharedSize {
			c.shared = append(c.shared, add())
		}
		batch = append(batch, c.shared[at+rng.IntN(2*sharedSize)]) // perhaps twice
		c.draws++
	}
	slices.SortFunc(batch, func(a, b *entry) int { return strings.Compare(a.dedup, b.dedup) })
	return batch
}

// request sends one batch and checks each of its answers.
func (c *contest) request(rng *rand.Rand, writer int) {
	batch := c.draw(rng)
	if writer == 1 {
		slices.Reverse(batch)
	}
	var bodies []string
	for _, e := range batch {
		bodies = append(bodies, e.body())
	}
	id := uuid7.Mint(time.Now())
	a, _, err := exchange(c.web, "http://"+c.writers[writer].addr+"/v1/events/batch", "["+strings.Join(bodies, ",")+"]",
		"X-Org-Id", batch[0].org, "X-Keygate-Id", id.String())
	if err != nil || len(a.Results) != len(batch) {
		c.tb.Errorf("%d events are answered %+v, %v", len(batch), a, err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, got := range a.Results {
		c.checkLocked(batch[i], got.result(), id.Item(i).String())
	}
}

// checkLocked holds an answer against those that the event got before. It is accepted once, under the id that it was
// sent with, and all others name that.
func (c *contest) checkLocked(e *entry, got result, own string) {
	switch {
	case got.code == accepted && got.id == own:
		c.acceptions[e]++
	case got.code == duplicate && got.id != own:
		c.duplicates++
	default:
		c.tb.Errorf("event %s, sent as %s, is answered %s %s", e.dedup, own, got.code, got.id)
	}
	if e.stored != "" && e.stored != got.id {
		c.tb.Errorf("event %s is named %s and %s", e.dedup, e.stored, got.id)
	}
	e.stored = got.id
}

// check compares the answers with the tables.
func (c *contest) check(url string) (events int) {
	c.tb.Helper()
	c.entries = slices.DeleteFunc(c.entries, func(e *entry) bool { return e.stored == "" }) // a shared one that nobody drew
	for _, e := range c.entries {
		if c.acceptions[e] != 1 {
			c.tb.Errorf("event %s was accepted %d times", e.dedup, c.acceptions[e])
		}
	}
	v := judge(c.tb, url, c.book)
	if v.stored != len(c.entries) {
		c.tb.Errorf("%d events are stored, of %d", v.stored, len(c.entries))
	}
	return v.stored
}

func TestDuplicatesAcrossTwoWritersInOppositeOrders(t *testing.T) {
	t.Parallel()
	runContest(t, 5*time.Second, 5*time.Second)
}
