package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"keygate/shared/serving"
	"keygate/shared/trust"
	"keygate/shared/uuid7"
	"keygate/writer/commit"
	"keygate/writer/event"
	"keygate/writer/server"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

const secret = "a secret of thirty-two bytes ok!"

// recorder answers every event with the next outcome, Accepted when there is none, and keeps what it was given.
type recorder struct {
	events   []*event.Event
	outcomes []commit.Outcome
	err      error
}

func (r *recorder) Submit(_ context.Context, events []*event.Event) ([]commit.Answer, error) {
	if r.err != nil {
		return nil, r.err
	}
	r.events = append(r.events, events...)
	answers := make([]commit.Answer, len(events))
	for i, e := range events {
		answers[i] = commit.Answer{Outcome: commit.Accepted, ID: e.ID}
		if len(r.outcomes) > 0 {
			answers[i].Outcome, r.outcomes = r.outcomes[0], r.outcomes[1:]
		}
	}
	return answers, nil
}

type fixture struct {
	tb      testing.TB
	server  *server.Server
	commit  *recorder
	secrets *trust.Secrets
	address string
	id      uuid7.ID
}

func start(tb testing.TB) *fixture {
	tb.Helper()
	secrets, err := trust.Parse(secret)
	if err != nil {
		tb.Fatal(err)
	}
	f := &fixture{tb: tb, commit: &recorder{}, secrets: secrets, id: uuid7.Mint(time.Now())}
	s := server.New(server.Config{
		Address: "127.0.0.1:0", OrgHeader: "X-Org-Id", Secrets: secrets, Commit: f.commit, MaxBody: 1 << 20, MaxArriving: 2 << 20,
		Logger: slog.New(slog.DiscardHandler), Metrics: serving.NewMetrics(prometheus.NewRegistry(), "writer"),
	})
	if err := s.Listen(); err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	tb.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	f.server, f.address = s, s.Addr().String()
	return f
}

// request builds a signed request; change edits it before it is sent.
func (f *fixture) request(path, contentType, body string, change ...func(*http.Request)) *http.Request {
	f.tb.Helper()
	r, err := http.NewRequest(http.MethodPost, "http://"+f.address+path, strings.NewReader(body))
	if err != nil {
		f.tb.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("X-Org-Id", "org-1")
	r.Header.Set("X-Keygate-Id", f.id.String())
	r.Header.Set("X-Request-Id", "req-1")
	f.sign(r)
	for _, c := range change {
		c(r)
	}
	return r
}

func (f *fixture) sign(r *http.Request) {
	claim := trust.Claim{
		Org: []byte(r.Header.Get("X-Org-Id")), ID: []byte(r.Header.Get("X-Keygate-Id")),
		Method: []byte(r.Method), Target: []byte(r.URL.RequestURI()),
	}
	r.Header.Set("X-Org-Signature", string(f.secrets.AppendSignature(nil, claim, time.Now())))
}

func (f *fixture) send(r *http.Request) (int, http.Header, map[string]any) {
	f.tb.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		f.tb.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		f.tb.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal(text, &answer); err != nil {
		f.tb.Fatalf("%d %q: %v", response.StatusCode, text, err)
	}
	return response.StatusCode, response.Header, answer
}

const one = `{"type":"contact.created","dedup_id":"d-1","payload":{"n":1}}`

func TestAStoredEventIsAnsweredWithItsIdAndTime(t *testing.T) {
	f := start(t)
	status, _, answer := f.send(f.request("/v1/events", "application/json", one))
	want := map[string]any{
		"id": f.id.String(), "status": "accepted", "created_at": f.id.Time().Format("2006-01-02T15:04:05.000Z"),
	}
	if status != 201 || fmt.Sprint(answer) != fmt.Sprint(want) {
		t.Errorf("got %d %v", status, answer)
	}
	e := f.commit.events[0]
	if e.OrgID != "org-1" || e.ID != f.id || e.Type != "contact.created" || e.DedupID != "d-1" || string(e.Payload) != `{"n":1}` {
		t.Errorf("stored %+v", e)
	}
}

func TestOutcomes(t *testing.T) {
	f := func(outcome commit.Outcome, status int, code any) {
		t.Helper()
		x := start(t)
		x.commit.outcomes = []commit.Outcome{outcome}
		got, header, answer := x.send(x.request("/v1/events", "application/json", one))
		if got != status || answer["code"] != code {
			t.Errorf("%v: got %d %v", outcome, got, answer)
		}
		if (status == 503) != (header.Get("Retry-After") != "") {
			t.Errorf("%v: Retry-After is %q", outcome, header.Get("Retry-After"))
		}
		if code != nil && answer["request_id"] != "req-1" {
			t.Errorf("%v: the request id is %v", outcome, answer["request_id"])
		}
	}
	f(commit.Accepted, 201, nil)
	f(commit.Duplicate, 200, nil)
	f(commit.Conflict, 409, "dedup_conflict")
	f(commit.IDReused, 409, "id_reused")
	f(commit.Unstorable, 422, "invalid_event")
	f(commit.NotStored, 503, "unavailable")
	f(commit.CommitUnknown, 503, "commit_unknown")
	f(commit.DiskFull, 507, "disk_full")
}

func TestCommitUnknownNamesTheEvent(t *testing.T) {
	f := start(t)
	f.commit.outcomes = []commit.Outcome{commit.CommitUnknown}
	if _, _, answer := f.send(f.request("/v1/events", "application/json", one)); answer["event_id"] != f.id.String() {
		t.Errorf("got %v", answer)
	}
}

func TestWhatWasNotAdmitted(t *testing.T) {
	for err, code := range map[error]string{commit.ErrQueueFull: "queue_full", commit.ErrClosed: "unavailable"} {
		f := start(t)
		f.commit.err = err
		for path, body := range map[string]string{"/v1/events": one, "/v1/events/batch": "[" + one + "]"} {
			if status, _, answer := f.send(f.request(path, "application/json", body)); status != 503 || answer["code"] != code {
				t.Errorf("%v on %s: got %d %v", err, path, status, answer)
			}
		}
	}
}

func TestBadInput(t *testing.T) {
	f := start(t)
	bad := func(name string, r *http.Request, status int, code string) {
		t.Helper()
		got, _, answer := f.send(r)
		if got != status || answer["code"] != code {
			t.Errorf("%s: got %d %v", name, got, answer)
		}
	}
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value); f.sign(r) }
	}
	forged := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	const jsonType = "application/json"
	bad("unknown path", f.request("/v2", jsonType, one), 404, "not_found")
	bad("no organization", f.request("/v1/events", jsonType, one, func(r *http.Request) { r.Header.Del("X-Org-Id") }), 403, "untrusted_caller")
	bad("two organizations", f.request("/v1/events", jsonType, one, func(r *http.Request) { r.Header.Add("X-Org-Id", "org-2") }), 403, "untrusted_caller")
	bad("forged organization", f.request("/v1/events", jsonType, one, forged("X-Org-Id", "org-2")), 403, "untrusted_caller")
	bad("organization of other characters", f.request("/v1/events", jsonType, one, header("X-Org-Id", "org 2")), 403, "untrusted_caller")
	bad("no signature", f.request("/v1/events", jsonType, one, func(r *http.Request) { r.Header.Del("X-Org-Signature") }), 403, "untrusted_caller")
	bad("signature for another path", f.request("/v1/events", jsonType, one, func(r *http.Request) { r.URL.Path = "/v1/events/batch" }), 403, "untrusted_caller")
	bad("no id", f.request("/v1/events", jsonType, one, func(r *http.Request) { r.Header.Del("X-Keygate-Id") }), 403, "untrusted_caller")
	bad("old id", f.request("/v1/events", jsonType, one, header("X-Keygate-Id", uuid7.Mint(time.Now().Add(-61*time.Second)).String())), 403, "untrusted_caller")
	bad("future id", f.request("/v1/events", jsonType, one, header("X-Keygate-Id", uuid7.Mint(time.Now().Add(62*time.Second)).String())), 403, "untrusted_caller")
	bad("id of an item", f.request("/v1/events", jsonType, one, header("X-Keygate-Id", f.id.Item(1).String())), 403, "untrusted_caller")
	bad("not JSON", f.request("/v1/events", jsonType, "hello"), 400, "malformed_json")
	bad("no body", f.request("/v1/events", jsonType, ""), 400, "malformed_json")
	bad("two values", f.request("/v1/events", jsonType, one+one), 400, "malformed_json")
	bad("no type", f.request("/v1/events", jsonType, `{"payload":{}}`), 422, "invalid_event")
	bad("NUL", f.request("/v1/events", jsonType, `{"type":"t","payload":{"a":"\u0000"}}`), 422, "invalid_event")
	bad("lone surrogate", f.request("/v1/events", jsonType, `{"type":"t","payload":{"a":"\ud800"}}`), 422, "invalid_event")
	bad("other content type", f.request("/v1/events", "text/plain", one), 415, "unsupported_media_type")
	bad("NDJSON of one", f.request("/v1/events", "application/x-ndjson", one), 415, "unsupported_media_type")
	bad("too large", f.request("/v1/events", jsonType, strings.Repeat(" ", 1<<20)+one), 413, "body_too_large")
	bad("too large, in chunks", f.request("/v1/events", jsonType, strings.Repeat(" ", 1<<20)+one, func(r *http.Request) { r.ContentLength = -1 }), 413, "body_too_large")
	bad("another Idempotency-Key", f.request("/v1/events", jsonType, one, header("Idempotency-Key", "d-2")), 422, "invalid_event")
	bad("Idempotency-Key on a batch", f.request("/v1/events/batch", jsonType, "["+one+"]", header("Idempotency-Key", "d-2")), 400, "bad_request")
	bad("broken batch", f.request("/v1/events/batch", jsonType, "["+one), 400, "batch_malformed")
	bad("empty batch", f.request("/v1/events/batch", jsonType, "[]"), 400, "batch_malformed")
	if n := len(f.commit.events); n != 0 {
		t.Errorf("%d events were stored", n)
	}
}

func TestWrongMethodNamesTheRightOne(t *testing.T) {
	f := start(t)
	status, header, answer := f.send(f.request("/v1/events", "", "", func(r *http.Request) { r.Method = http.MethodGet; f.sign(r) }))
	if status != 405 || answer["code"] != "method_not_allowed" || header.Get("Allow") != "POST" {
		t.Errorf("got %d %v %v", status, header, answer)
	}
}

func TestTheIdempotencyKeyIsTheDedupId(t *testing.T) {
	f := start(t)
	r := f.request("/v1/events", "application/json; charset=utf-8", `{"type":"t","payload":{}}`,
		func(r *http.Request) { r.Header.Set("Idempotency-Key", "k-1") })
	if status, _, answer := f.send(r); status != 201 || f.commit.events[0].DedupID != "k-1" {
		t.Errorf("got %d %v", status, answer)
	}
}

func TestABatchIsAnsweredItemByItem(t *testing.T) {
	f := start(t)
	f.commit.outcomes = []commit.Outcome{commit.Accepted, commit.Duplicate, commit.Conflict}
	event := `{"type":"t","payload":{}}`
	body := strings.Join([]string{event, `{"payload":{}}`, event, event}, "\n")
	status, _, answer := f.send(f.request("/v1/events/batch", "application/x-ndjson", body))
	var got []string
	for _, result := range answer["results"].([]any) {
		r := result.(map[string]any)
		got = append(got, fmt.Sprint(r["status"], " ", r["code"], " ", r["pointer"]))
	}
	want := []string{"accepted <nil> <nil>", "rejected invalid_event /type", "duplicate <nil> <nil>", "rejected dedup_conflict <nil>"}
	if status != 200 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %d %v", status, got)
	}
	if ids := []uuid7.ID{f.commit.events[0].ID, f.commit.events[1].ID}; ids[0] != f.id || ids[1] != f.id.Item(2) {
		t.Errorf("ids %v", ids)
	}
}

// Ensure an untrusted caller cannot make us hold bodies: the first 8 KiB are all that is read of one.
func TestAnUntrustedCallerIsRefusedBeforeItsWholeBody(t *testing.T) {
	f := start(t)
	conn, err := net.Dial("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/events HTTP/1.1\r\nHost: w\r\nContent-Length: 100000\r\n\r\n%s", make([]byte, 8<<10))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != 403 {
		t.Errorf("got %d", response.StatusCode)
	}
}
