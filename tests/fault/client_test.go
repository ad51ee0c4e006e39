package fault

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Answers that acknowledge an event.
const (
	accepted  = "accepted"
	duplicate = "duplicate"
)

// What clients see when there is no answer.
const (
	unconnected = "(no connection)" // nothing was sent
	cutOff      = "(cut off)"
)

// A result is what a client learns about one event.
type result struct {
	code   string // accepted, duplicate, the code of a problem, or one of the above
	id     string // of an event
	status int    // of the response
	header http.Header
}

func (r result) acknowledges() bool { return r.code == accepted || r.code == duplicate }

// answer is any body that the programs answer with.
type answer struct {
	ID, Status, Code string
	EventID          string `json:"event_id"`
	Results          []answer
}

func (a answer) result() result {
	switch a.Status {
	case accepted, duplicate:
		return result{code: a.Status, id: a.ID}
	}
	return result{code: a.Code, id: a.EventID}
}

// UnmarshalJSON reads status as a word, which in a problem is a number.
func (a *answer) UnmarshalJSON(text []byte) error {
	var raw struct {
		ID, Code string
		Status   any
		EventID  string `json:"event_id"`
		Results  []answer
	}
	err := json.Unmarshal(text, &raw)
	*a = answer{ID: raw.ID, Code: raw.Code, EventID: raw.EventID, Results: raw.Results, Status: fmt.Sprint(raw.Status)}
	return err
}

// load is many clients that send events until they are told to stop.
type load struct {
	*book
	edge   string // URL
	keys   []apiKey
	web    *http.Client
	number atomic.Int64 // of the last event
	quit   chan struct{}
	end    func() // waits until each event that may be sent again is acknowledged
}

// newLoad starts clients, and does not return before events are being stored.
func (s *stack) newLoad(seed uint64, clients int) *load {
	s.tb.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: clients, DisableCompression: true}
	l := &load{
		book: newBook(s.tb), edge: "http://" + s.proxy.addr, keys: s.keys,
		web: &http.Client{Transport: transport, Timeout: patience}, quit: make(chan struct{}),
	}
	var group sync.WaitGroup
	for n := range clients {
		c := &client{load: l, rng: source(seed, n)}
		group.Go(c.run)
	}
	l.end = sync.OnceFunc(func() {
		close(l.quit)
		group.Wait()
		transport.CloseIdleConnections()
	})
	s.tb.Cleanup(l.end)
	l.reaches(s.tb, 100)
	return l
}

// reaches waits until so many more events have been acknowledged.
func (l *load) reaches(tb testing.TB, more int) {
	tb.Helper()
	goal := l.acknowledged() + more
	eventually(tb, "events to be acknowledged", func() bool { return l.acknowledged() >= goal })
}

// A client does one thing after the other.
type client struct {
	*load
	rng *rand.Rand
	own []*entry // acknowledged ones with dedup ids
}

const remembered = 64

func (c *client) run() {
	for {
		select {
		case <-c.quit:
			return
		default:
		}
		switch chance := c.rng.IntN(20); {
		case chance < 8:
			c.send(c.entry(true))
		case chance < 15:
			c.send(c.entry(false))
		case chance < 17:
			c.sendBatch(2 + c.rng.IntN(7))
		case len(c.own) > 0:
			c.repeat(c.own[c.rng.IntN(len(c.own))], chance == 19)
		}
	}
}

// entry opens an entry, with a dedup id or without.
func (c *client) entry(dedup bool) *entry {
	org := c.keys[c.rng.IntN(len(c.keys))]
	e := &entry{number: c.number.Add(1), org: org.OrgID, key: org.Key}
	if dedup {
		e.dedup = fmt.Sprint("order-", e.number)
	}
	c.open(e)
	return e
}

// send sends an event. One with a dedup id is sent until it is acknowledged; another may be sent only once.
func (c *client) send(e *entry) {
	began := time.Now()
	for e.stored == "" {
		sent := time.Now()
		c.note(e, c.post("", e.key, e.body(), 1)[0], time.Since(sent))
		switch {
		case e.stored != "":
		case e.dedup == "":
			return
		case time.Since(began) > patience:
			c.tb.Errorf("event %d is not acknowledged within %v; the last answer is %s", e.number, patience, e.last)
			return
		default:
			c.breathe()
		}
	}
	if e.dedup == "" {
		return
	}
	if len(c.own) < remembered {
		c.own = append(c.own, e)
	} else {
		c.own[c.rng.IntN(remembered)] = e
	}
}

// sendBatch sends several events of one organisation at once, and what failed by itself.
func (c *client) sendBatch(size int) {
	var batch []*entry
	var bodies []string
	for len(batch) < size {
		e := c.entry(c.rng.IntN(2) == 0)
		e.org, e.key = c.keys[0].OrgID, c.keys[0].Key
		batch, bodies = append(batch, e), append(bodies, e.body())
	}
	sent := time.Now()
	for i, got := range c.post("/batch", c.keys[0].Key, "["+strings.Join(bodies, ",")+"]", size) {
		c.note(batch[i], got, time.Since(sent))
	}
	for _, e := range batch {
		if e.stored == "" && e.dedup != "" {
			c.send(e)
		}
	}
}

// repeat sends an acknowledged event again, which has to be answered with its id; or another one under its dedup id,
// which has to be refused.
func (c *client) repeat(e *entry, other bool) {
	body, want := e.body(), duplicate
	if other {
		body, want = strings.Replace(body, "ä", "a", 1), "dedup_conflict"
	}
	for began := time.Now(); time.Since(began) < patience; c.breathe() {
		got := c.post("", e.key, body, 1)[0]
		c.count(got.code)
		if got.code == want && got.id == e.stored {
			return
		}
		if got.acknowledges() || got.code == "dedup_conflict" {
			c.tb.Errorf("event %d, stored as %s and sent again, is answered %s %s; want %s", e.number, e.stored, got.code, got.id, want)
			return
		}
	}
	c.tb.Errorf("event %d was not answered when sent again", e.number)
}

// breathe is how long a client waits before it tries again.
func (c *client) breathe() { <-time.After(time.Duration(10+c.rng.IntN(20)) * time.Millisecond) }

// post sends one request and returns a result for each of its events.
func (l *load) post(path, key, body string, events int) []result {
	a, response, err := exchange(l.web, l.edge+"/v1/events"+path, body, "X-API-Key", key)
	if err == nil && len(a.Results) == events {
		results := make([]result, events)
		for i, item := range a.Results {
			results[i] = item.result()
		}
		return results
	}
	got := a.result()
	if failure, ok := errors.AsType[*net.OpError](err); ok && failure.Op == "dial" {
		got = result{code: unconnected}
	} else if err != nil {
		got = result{code: cutOff}
	} else {
		got.status, got.header = response.StatusCode, response.Header
	}
	return slices.Repeat([]result{got}, events)
}

// exchange sends a request and reads its answer; header is name, value, name, value …
func exchange(web *http.Client, url, body string, header ...string) (a answer, response *http.Response, err error) {
	request, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return a, nil, err
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	if response, err = web.Do(request); err != nil {
		return a, nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return a, nil, err
	}
	if json.Unmarshal(text, &a) != nil {
		a.Code = fmt.Sprintf("%d %s", response.StatusCode, text)
	}
	return a, response, nil
}
