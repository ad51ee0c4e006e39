package run

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keygate/tests/load/fakeapi"
	"keygate/tests/load/hist"
	"keygate/tests/load/traffic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func plan(url string, connections int) Plan {
	host := strings.TrimPrefix(url, "http://")
	return Plan{
		Addresses: []string{host}, Shape: traffic.Shape{Host: host, Path: "/v1/events", Batch: 1},
		Keys: traffic.NewKeys([]string{"key"}, 0), Connections: connections, Timeout: 20 * time.Second,
	}
}

// load runs one phase against a fake.
func load(tb testing.TB, p Plan, limit Limit) *Result {
	tb.Helper()
	runner, err := Open(tb.Context(), p)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(runner.Close)
	return runner.Phase(tb.Context(), limit, hist.NewTimeline())
}

func TestAClosedLoopMakesExactlyTheRequestsAskedFor(t *testing.T) {
	api := fakeapi.New(t)
	result := load(t, plan(api.URL, 20), Limit{Requests: 1003})
	if result.Requests != 1003 || result.OK != 1003 || result.Events != 1003 || result.Accepted != 1003 ||
		result.Latency.Count != 1003 || api.Requests() != 1003 {
		t.Errorf("got %d requests, %d ok, %d measured; %d arrived",
			result.Requests, result.OK, result.Latency.Count, api.Requests())
	}
	if want := map[string]int64{"201": 1003}; !maps.Equal(result.Outcomes, want) {
		t.Errorf("got %v", result.Outcomes)
	}
	ids := map[string]bool{}
	for _, e := range api.Events() {
		ids[e.DedupID] = true
	}
	if len(ids) != 1003 {
		t.Errorf("%d different dedup ids arrived", len(ids))
	}
}

func TestAClosedLoopEndsWithItsDuration(t *testing.T) {
	api := fakeapi.New(t)
	result := load(t, plan(api.URL, 4), Limit{Duration: 200 * time.Millisecond})
	if result.Requests == 0 || int64(api.Requests()) != result.Requests || result.Elapsed < 200*time.Millisecond {
		t.Errorf("%d requests in %v; %d arrived", result.Requests, result.Elapsed, api.Requests())
	}
}

func TestFailuresAreCountedByStatusAndCode(t *testing.T) {
	api := fakeapi.New(t)
	api.Answer(func(n int) (int, string) {
		switch n % 10 {
		case 0:
			return 503, `{"type":"about:blank","status":503,"code":"queue_full"}`
		case 1:
			return 500, `<html>not a problem document</html>`
		case 2:
			return 401, `{"code":"` + strings.Repeat("x", 100) + `"}`
		}
		return 0, ""
	})
	result := load(t, plan(api.URL, 5), Limit{Requests: 100})
	want := map[string]int64{"201": 70, "503 queue_full": 10, "500": 10, "401 other": 10}
	if result.Requests != 100 || result.OK != 70 || result.Answered != 100 || !maps.Equal(result.Outcomes, want) {
		t.Errorf("got %d of %d ok: %v", result.OK, result.Requests, result.Outcomes)
	}
}

func TestABrokenConnectionFailsOneRequestAndIsReplaced(t *testing.T) {
	api := fakeapi.New(t)
	api.Answer(func(n int) (int, string) {
		if n == 10 {
			panic(http.ErrAbortHandler) // hangs up without an answer
		}
		return 0, ""
	})
	result := load(t, plan(api.URL, 1), Limit{Requests: 50})
	if want := map[string]int64{"201": 49, "connection lost": 1}; !maps.Equal(result.Outcomes, want) {
		t.Errorf("got %v", result.Outcomes)
	}
	if result.Answered != 49 || result.Latency.Count != 49 {
		t.Errorf("%d answered, %d measured", result.Answered, result.Latency.Count)
	}
}

func TestAConnectionThatTheServerClosesPolitelyIsReplacedWithoutAFailure(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(server.Close)
	server.Config.SetKeepAlivesEnabled(false)
	result := load(t, plan(server.URL, 2), Limit{Requests: 50})
	if want := map[string]int64{"201": 50}; !maps.Equal(result.Outcomes, want) {
		t.Errorf("got %v", result.Outcomes)
	}
}

func TestATimeoutIsAFailureWithItsWholeWait(t *testing.T) {
	hold := make(chan struct{})
	api := fakeapi.New(t)
	api.Answer(func(n int) (int, string) {
		if n == 0 {
			<-hold
		}
		return 0, ""
	})
	t.Cleanup(func() { close(hold) }) // before the fake waits for its handlers
	p := plan(api.URL, 1)
	p.Timeout = 100 * time.Millisecond
	result := load(t, p, Limit{Requests: 20})
	if result.Outcomes["timeout"] != 1 || result.OK != 19 || result.Latency.Max < p.Timeout {
		t.Errorf("got %v, max %v", result.Outcomes, result.Latency.Max)
	}
}

func TestAnUnreachableTargetIsAnErrorBeforeAnyLoad(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if _, err := Open(t.Context(), plan("http://"+listener.Addr().String(), 50)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
}

func TestATargetThatGoesAwayIsCountedNotHammered(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		conn, err := listener.Accept()
		listener.Close()
		if err == nil {
			conn.Close()
		}
	}()
	result := load(t, plan("http://"+listener.Addr().String(), 1), Limit{Duration: 300 * time.Millisecond})
	<-gone
	if result.OK != 0 || result.Outcomes["connection refused"] == 0 || result.Requests > 20 {
		t.Errorf("got %v", result.Outcomes)
	}
}

func TestTheEndOfTheContextEndsARun(t *testing.T) {
	for name, limit := range map[string]Limit{"closed": {Duration: time.Hour}, "open": {Duration: time.Hour, Rate: 2000}} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			api := fakeapi.New(t)
			api.Answer(func(n int) (int, string) {
				if n == 100 {
					cancel()
				}
				return 0, ""
			})
			runner, err := Open(t.Context(), plan(api.URL, 4))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(runner.Close)
			result := runner.Phase(ctx, limit, hist.NewTimeline())
			if !result.Truncated || result.OK != result.Requests || result.OK <= 100 {
				t.Errorf("truncated %v, %v", result.Truncated, result.Outcomes)
			}
		})
	}
}

func TestAWarmUpIsNotCountedAndDoesNotReuseItsEvents(t *testing.T) {
	api := fakeapi.New(t)
	runner, err := Open(t.Context(), plan(api.URL, 4))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(runner.Close)
	runner.Phase(t.Context(), Limit{Requests: 50}, hist.NewTimeline())
	result := runner.Phase(t.Context(), Limit{Requests: 70}, hist.NewTimeline())
	if ok, failed := runner.Counts(); result.Requests != 70 || ok != 70 || failed != 0 {
		t.Errorf("got %d requests, %d and %d in progress", result.Requests, ok, failed)
	}
	if want := map[string]int64{"201": 70}; !maps.Equal(result.Outcomes, want) || api.Requests() != 120 {
		t.Errorf("got %v; %d arrived", result.Outcomes, api.Requests())
	}
}

func TestRepeatedEventsAreAnsweredAsDuplicates(t *testing.T) {
	api := fakeapi.New(t)
	p := plan(api.URL, 1) // each of several rounds its own share, so that they may repeat a few more in sum
	p.Repeat = 0.1
	result := load(t, p, Limit{Requests: 2000})
	if repeated := result.Outcomes["200"]; repeated < 180 || repeated > 200 || result.OK != 2000 {
		t.Errorf("%d of 2000 were duplicates: %v", repeated, result.Outcomes)
	}
}

func TestBatchesAreCountedByEvent(t *testing.T) {
	api := fakeapi.New(t)
	api.Answer(func(n int) (int, string) {
		if n > 0 {
			return 0, ""
		}
		return 200, `{"results":[{"status":"accepted"},{"status":"rejected","code":"invalid_event"},` +
			`{"status":"duplicate"},{"status":"rejected","code":"dedup_conflict"}]}`
	})
	p := plan(api.URL, 2)
	p.Shape.Path, p.Shape.Batch, p.Repeat = "/v1/events/batch", 4, 0.25
	result := load(t, p, Limit{Requests: 100})
	if result.Events != 400 || result.Accepted != 398 || result.OK != 99 || len(api.Events()) != 400 {
		t.Errorf("%d of %d events, %d requests whole; %d arrived",
			result.Accepted, result.Events, result.OK, len(api.Events()))
	}
	if want := map[string]int64{"invalid_event": 1, "dedup_conflict": 1}; !maps.Equal(result.Rejected, want) {
		t.Errorf("rejected: %v", result.Rejected)
	}
	if result.Repeated < 90 || result.Repeated > 101 {
		t.Errorf("%d duplicates", result.Repeated)
	}
}
