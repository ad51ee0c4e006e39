package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"testing"
	"time"
)

// client speaks HTTP and keeps connections, as a good client does.
type client struct {
	tb   testing.TB
	http *http.Client
}

func newClient(tb testing.TB) *client {
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	tb.Cleanup(transport.CloseIdleConnections)
	return &client{tb, &http.Client{
		Transport: transport, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is a response that has been read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, bytes.TrimSpace(a.body)) }

// try sends one request; header is name, value, name, value …
func (c *client) try(method, url, body string, header ...string) (answer, error) {
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, err
	}
	return read(response)
}

func read(response *http.Response) (answer, error) {
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, body}, err
}

func (c *client) do(method, url, body string, header ...string) answer {
	c.tb.Helper()
	got, err := c.try(method, url, body, header...)
	if err != nil {
		c.tb.Fatal(err)
	}
	return got
}

func (c *client) get(url string, header ...string) answer {
	c.tb.Helper()
	return c.do(http.MethodGet, url, "", header...)
}

// post sends an event through the edge.
func (c *client) post(edge, key, event string) answer {
	c.tb.Helper()
	return c.do(http.MethodPost, edge+"/v1/events", event, "X-API-Key", key, "Content-Type", "application/json")
}

// anEvent is one that nothing is wrong with.
const anEvent = `{"type":"order.paid","payload":{"order":17,"total":"99.50"}}`

// stored is how the writer answers for an event.
type stored struct {
	ID        string    `json:"id"`
	Status    string    `json:"status"`
	CreatedAt time.Time `json:"created_at"`
}

// wants reads an answer about an event that has to be stored.
func (a answer) wants(tb testing.TB, status int, word string) stored {
	tb.Helper()
	var s stored
	if a.status != status || json.Unmarshal(a.body, &s) != nil || s.ID == "" || s.Status != word || s.CreatedAt.IsZero() {
		tb.Fatalf("the answer is %v; wanted %d with an id, %q and a time", a, status, word)
	}
	return s
}

// problem is the body of every error.
type problem struct {
	Type, Title, Detail, Code, Pointer string
	Status                             int
	RequestID                          string `json:"request_id"`
	EventID                            string `json:"event_id"`
}

// refuses reads an answer that has to be an error, with all that belongs to one.
func (a answer) refuses(tb testing.TB, status int, code string) problem {
	tb.Helper()
	var p problem
	media, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err := json.Unmarshal(a.body, &p); err != nil || a.status != status || p.Code != code {
		tb.Errorf("the answer is %v; wanted %d %s", a, status, code)
		return p
	}
	if media != "application/problem+json" || p.Type == "" || p.Title == "" || p.Detail == "" || p.Status != status {
		tb.Errorf("the answer is no complete problem: %s %v", media, a)
	}
	if status == http.StatusUnauthorized && a.header.Get("WWW-Authenticate") == "" {
		tb.Error("401 comes without WWW-Authenticate")
	}
	if status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "" {
		tb.Error("503 comes without Retry-After")
	}
	return p
}
