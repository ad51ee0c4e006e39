package traffic

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type sent struct {
	Type    string `json:"type"`
	DedupID string `json:"dedup_id"`
	Payload json.RawMessage
}

var keys = NewKeys([]string{"short", "one_of_middling_length", "k"}, 0)

func shape() Shape { return Shape{Host: "127.0.0.1:8080", Path: "/v1/events", Batch: 1, Run: "RUN"} }

// read parses a request as a server would, and insists that nothing follows it.
func read(tb testing.TB, request []byte) (*http.Request, []byte) {
	tb.Helper()
	reader := bufio.NewReader(bytes.NewReader(request))
	parsed, err := http.ReadRequest(reader)
	if err != nil {
		tb.Fatalf("%v in %q", err, request)
	}
	body, err := io.ReadAll(parsed.Body)
	if err != nil || reader.Buffered() > 0 {
		tb.Fatalf("%v, and %d bytes after the body", err, reader.Buffered())
	}
	return parsed, body
}

func events(tb testing.TB, body []byte, batch int) (list []sent) {
	tb.Helper()
	if batch == 1 {
		list = make([]sent, 1)
		if err := json.Unmarshal(body, &list[0]); err != nil {
			tb.Fatalf("%v in %s", err, body)
		}
		return list
	}
	if err := json.Unmarshal(body, &list); err != nil || len(list) != batch {
		tb.Fatalf("%v, %d events in %s", err, len(list), body)
	}
	return list
}

func TestARequestIsAnEventWithItsOwnNumberAndTheNextKey(t *testing.T) {
	source := NewSource(shape(), keys, 0, 0, 1)
	for i, key := range []string{"short", "one_of_middling_length", "k", "short"} {
		request, body := read(t, source.Next(int64(i)))
		n := 1_000_000_000 + i
		want := fmt.Sprintf(`{"type":"contact.created","dedup_id":"RUN-%d","payload":{"email":"user%d@example.com",`+
			`"name":"Test User","plan":"pro","n":%d,"tags":["a","b","c"]}}`, n, n, n)
		if string(body) != want {
			t.Errorf("got %s, want %s", body, want)
		}
		if request.Method != "POST" || request.URL.Path != "/v1/events" || request.Host != "127.0.0.1:8080" ||
			request.Header.Get("Content-Type") != "application/json" || request.Header.Get("X-API-Key") != key {
			t.Errorf("got %s %s %s with %v", request.Method, request.URL, request.Host, request.Header)
		}
	}
}

func TestTheKeyCanBeABearerToken(t *testing.T) {
	s := shape()
	s.Bearer = true
	request, _ := read(t, NewSource(s, keys, 0, 0, 1).Next(0))
	if request.Header.Get("Authorization") != "Bearer short" || request.Header.Get("X-API-Key") != "" {
		t.Errorf("got %v", request.Header)
	}
}

func TestPayloadsHaveExactlyTheSizeAskedFor(t *testing.T) {
	for _, size := range []int{MinPayload, 100, 1 << 20} {
		s := shape()
		s.PayloadBytes = size
		_, body := read(t, NewSource(s, keys, 0, 0, 1).Next(7))
		if payload := events(t, body, 1)[0].Payload; len(payload) != size {
			t.Errorf("asked for %d, got %d bytes", size, len(payload))
		}
	}
}

func TestRepeatedEventsAreTheOriginalAgainAndMakeUpTheirShare(t *testing.T) {
	for _, batch := range []int{1, 10} {
		for _, share := range []float64{0, 0.05, 0.5, 1} {
			t.Run(fmt.Sprintf("batch=%d/share=%v", batch, share), func(t *testing.T) {
				s, seen, total, repeated := shape(), map[string]string{}, 0, 0
				s.Batch = batch
				const connections, requests = 20, 400
				for c := range connections {
					source := NewSource(s, keys, share, c, connections)
					for i := range requests / connections {
						request, body := read(t, source.Next(int64(i*connections+c)))
						for _, e := range events(t, body, batch) {
							total++
							content := request.Header.Get("X-API-Key") + " " + string(e.Payload)
							if first, known := seen[e.DedupID]; !known {
								seen[e.DedupID] = content
							} else if repeated++; first != content {
								t.Fatalf("%s was %s and is %s", e.DedupID, first, content)
							}
						}
					}
				}
				want := min(share*float64(total), float64(total-connections))
				if math.Abs(float64(repeated)-want) > connections {
					t.Errorf("%d of %d events were repeats, want %.0f", repeated, total, want)
				}
			})
		}
	}
}

func TestZipfPrefersTheFirstKeysByItsLaw(t *testing.T) {
	list := make([]string, 1000)
	for i := range list {
		list[i] = fmt.Sprint("key", i)
	}
	counts := map[string]float64{}
	source := NewSource(shape(), NewKeys(list, 1), 0, 0, 1)
	const requests = 40_000
	for i := range requests {
		request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(source.Next(int64(i)))))
		if err != nil {
			t.Fatal(err)
		}
		counts[request.Header.Get("X-API-Key")]++
	}
	harmonic := 0.0
	for i := range list {
		harmonic += 1 / float64(i+1)
	}
	for _, rank := range []int{1, 2, 10} {
		want := requests / harmonic / float64(rank)
		if got := counts[list[rank-1]]; math.Abs(got-want) > 0.1*want {
			t.Errorf("the key of rank %d came %.0f times, want about %.0f", rank, got, want)
		}
	}
	if len(counts) < 900 {
		t.Errorf("only %d of 1000 keys were chosen", len(counts))
	}
}

func TestMakingARequestAllocatesNothing(t *testing.T) {
	source, i := NewSource(shape(), NewKeys([]string{"a", "bb"}, 1), 0.05, 0, 1), int64(0)
	if got := testing.AllocsPerRun(1000, func() { source.Next(i); i++ }); got > 0 {
		t.Errorf("%v allocations a request", got)
	}
}

func BenchmarkNext(b *testing.B) {
	million := make([]string, 1_000_000)
	for i := range million {
		million[i] = fmt.Sprintf("key_%08d", i)
	}
	for _, zipf := range []float64{0, 1} {
		b.Run(fmt.Sprintf("keys=1000000/zipf=%v", zipf), func(b *testing.B) {
			source, i := NewSource(shape(), NewKeys(million, zipf), 0, 0, 1), int64(0)
			b.ReportAllocs()
			for b.Loop() {
				source.Next(i)
				i++
			}
		})
	}
}
