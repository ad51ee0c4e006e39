// Package fakeapi is an event API for the load generator's own tests: a real listener that counts what it is sent and
// answers as the test says.
package fakeapi

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Event is one event as it arrived.
type Event struct {
	Key     string
	Type    string `json:"type"`
	DedupID string `json:"dedup_id"`
	Payload json.RawMessage
}

// API is a running fake; its URL is good until the test ends.
type API struct {
	URL string

	mu       sync.Mutex // held for the counting of a request, not for its answer
	answer   func(n int) (status int, body string)
	requests int
	events   []Event
	seen     map[string]bool
}

// New starts a fake.
func New(tb testing.TB) *API {
	tb.Helper()
	a := &API{seen: map[string]bool{}, answer: func(int) (int, string) { return 0, "" }}
	server := httptest.NewServer(http.HandlerFunc(a.serve))
	tb.Cleanup(server.Close)
	a.URL = server.URL
	return a
}

// Answer has the n-th request (from 0) answered by a function; its status 0 accepts it in the ordinary way.
func (a *API) Answer(answer func(n int) (status int, body string)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
}

// Requests is how many have arrived.
func (a *API) Requests() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests
}

// Events is what has arrived, duplicates included.
func (a *API) Events() []Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Event(nil), a.events...)
}

func (a *API) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client hung up, which is its right
	}
	batch := strings.HasSuffix(r.URL.Path, "/batch")
	answer, ok, ask := a.count(r.Header.Get("X-API-Key"), body, batch)
	w.Header().Set("Content-Type", "application/json")
	status, text := ask()
	switch {
	case status != 0:
		answer = text
	case !ok:
		status, answer = http.StatusUnprocessableEntity, `{"code":"invalid_event"}`
	case batch || strings.Contains(answer, "duplicate"):
		status = http.StatusOK
	default:
		status = http.StatusCreated
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, answer)
}

// count takes note of a request, and returns the ordinary answer and the function to ask for another one.
func (a *API) count(key string, body []byte, batch bool) (ordinary string, ok bool, ask func() (int, string)) {
	if !batch {
		body = append(append([]byte{'['}, body...), ']')
	}
	var list []Event
	ok = json.Unmarshal(body, &list) == nil
	a.mu.Lock()
	defer a.mu.Unlock()
	n, answer := a.requests, a.answer
	a.requests++
	var results []string
	for _, e := range list {
		e.Key = key
		a.events = append(a.events, e)
		status := "accepted"
		if a.seen[key+" "+e.DedupID] {
			status = "duplicate"
		}
		a.seen[key+" "+e.DedupID] = true
		results = append(results, `{"id":"01890a5d-ac96-774b-bcce-b302099a8057","status":"`+status+`"}`)
	}
	ordinary = strings.Join(results, ",")
	if batch {
		ordinary = `{"results":[` + ordinary + `]}`
	}
	return ordinary, ok, func() (int, string) { return answer(n) }
}
