package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestAnEventThroughTheEdgeBecomesTwoRows(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	writer := s.writer()
	proxy := s.proxy(writer.url)
	key, web := s.createKey("acme"), newClient(t)
	const event = `{"type":"order.paid","dedup_id":"order-17","payload":{"total":99.50,"ä":["\u00e4",null,true]}}`
	first := web.post(proxy.url, key.Key, event).wants(t, 201, "accepted")

	const row = `select count(*) from events where id = $1 and org_id = $2 and type = 'order.paid' and dedup_id = 'order-17'
		and payload = '{"total":99.5,"ä":["ä",null,true]}' and created_at = $3`
	if count(t, s.db, row, first.ID, key.OrgID, first.CreatedAt) != 1 {
		t.Errorf("the event is not as it was sent: %q", column(t, s.db, "select e::text from events e"))
	}
	const delivery = `select count(*) from event_deliveries where id = $1 and event_id = $1 and org_id = $2
		and status = 'pending' and attempts = 0 and created_at = $3`
	if count(t, s.db, delivery, first.ID, key.OrgID, first.CreatedAt) != 1 {
		t.Errorf("the delivery is not pending: %q", column(t, s.db, "select d::text from event_deliveries d"))
	}

	same := `{"payload":{"ä":["ä",null,true],"total":9.95e1},"dedup_id":"order-17","type":"order.paid"}`
	if again := web.post(proxy.url, key.Key, same).wants(t, 200, "duplicate"); again.ID != first.ID || !again.CreatedAt.Equal(first.CreatedAt) {
		t.Errorf("the same event again is answered with %+v, at first it was %+v", again, first)
	}
	byHeader := web.do(http.MethodPost, proxy.url+"/v1/events", `{"type":"order.paid","payload":{"total":99.5,"ä":["ä",null,true]}}`,
		"Authorization", "Bearer "+key.Key, "Idempotency-Key", "order-17").wants(t, 200, "duplicate")
	if byHeader.ID != first.ID {
		t.Errorf("by Idempotency-Key the same event is %+v", byHeader)
	}
	other := s.createKey("other")
	if theirs := web.post(proxy.url, other.Key, event).wants(t, 201, "accepted"); theirs.ID == first.ID {
		t.Error("two organisations share an event")
	}
	if n := events(t, s.db); n != 2 {
		t.Errorf("%d events are stored, not 2", n)
	}
}

func TestABatchIsAnsweredEventByEvent(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	writer := s.writer()
	proxy := s.proxy(writer.url)
	key, web := s.createKey("acme"), newClient(t)
	post := func(body, mediaType string) answer {
		t.Helper()
		return web.do(http.MethodPost, proxy.url+"/v1/events/batch", body, "X-API-Key", key.Key, "Content-Type", mediaType)
	}
	items := []string{`{"type":"a","payload":{"n":1}}`, `{"payload":{}}`, `{"type":"b","dedup_id":"x","payload":{}}`,
		`{"type":"b","dedup_id":"x","payload":{}}`, `{"type":"c","payload":{"text":"\u0000"}}`, `{"type":"d","dedup_id":"x","payload":{}}`}
	want := []string{"accepted", "rejected invalid_event /type", "accepted", "duplicate", "rejected invalid_event /payload/text",
		"rejected dedup_conflict"}
	if got := results(t, post("["+strings.Join(items, ",")+"]", "application/json")); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("an array is answered %q", got)
	}
	if n := events(t, s.db); n != 2 {
		t.Errorf("%d events are stored, not 2", n)
	}
	want[2] = "duplicate"
	if got := results(t, post(strings.Join(items, "\n")+"\n", "application/x-ndjson")); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("lines are answered %q", got)
	}
	large := strings.Repeat(`{"type":"a","payload":{"text":"`+strings.Repeat("x", 500)+`"}},`, 1000)
	got := results(t, post("["+strings.TrimSuffix(large, ",")+"]", "application/json"))
	if len(got) != 1000 || strings.Join(got, "") != strings.Repeat("accepted", 1000) {
		t.Errorf("1,000 events are answered with %d results", len(got))
	}
	if n := events(t, s.db); n != 1003 {
		t.Errorf("%d events are stored, not 1003", n)
	}
}

// results reads the answer to a batch as one text for each item.
func results(tb testing.TB, a answer) (texts []string) {
	tb.Helper()
	var body struct {
		Results []struct{ Status, Code, Pointer, ID, Detail string }
	}
	if err := json.Unmarshal(a.body, &body); err != nil || a.status != http.StatusOK {
		tb.Fatalf("the batch is answered %v", a)
	}
	for _, item := range body.Results {
		texts = append(texts, strings.TrimSpace(fmt.Sprintf("%s %s %s", item.Status, item.Code, item.Pointer)))
		if item.Status == "rejected" && item.Detail == "" || item.Status != "rejected" && item.ID == "" {
			tb.Errorf("the result is incomplete: %+v", item)
		}
	}
	return texts
}
