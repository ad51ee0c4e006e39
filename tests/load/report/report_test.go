package report

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keygate/tests/load/config"
	"keygate/tests/load/counters"
	"keygate/tests/load/hist"
	"keygate/tests/load/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// measured is a run of 1,000 requests in 2 s, of which the first ten fail; latencies are 1 to 1000 times 10 µs.
func measured() Measured {
	timeline, latency := hist.NewTimeline(), &hist.Hist{}
	for i := range 1000 {
		var slot hist.Slot
		if i < 10 {
			slot.Failed = 1
		}
		slot.Latency.Record(time.Duration(i+1) * 10 * time.Microsecond)
		latency.Merge(&slot.Latency)
		at := time.Duration(i+1) * 2 * time.Millisecond
		timeline.Add(&slot, at, at)
	}
	options := config.Default()
	options.Traffic.Key = "a_key_that_is_secret"
	return Measured{
		Options: options, Endpoint: "http://127.0.0.1:8080/v1/events?<&>", Keys: 1,
		Started: time.Now(),
		Run: &run.Result{
			Elapsed: 2 * time.Second, Requests: 1000, OK: 990, Answered: 1000, Events: 1000, Accepted: 990,
			Outcomes: map[string]int64{"201": 990, "503 queue_full": 10},
			Timeline: timeline, Latency: latency, Lag: &hist.Hist{}, CPU: 10 * time.Millisecond,
		},
		Usage: counters.Usage{
			SourceQueries: 4, Statements: map[string]float64{"insert": 40, "find": 6},
			Tiers: map[string]counters.Tier{
				"memory": {Lookups: 1000, Hits: 980}, "redis": {Lookups: 20, Hits: 16}, "source": {Lookups: 4, Hits: 4},
			},
		},
	}
}

func foreign() Measured {
	m := measured()
	m.Usage = counters.Usage{
		ProxyMissing: "http://127.0.0.1:9080 does not answer", WriterMissing: "no keygate counters there",
	}
	return m
}

func text(tb testing.TB, r *Result) string {
	tb.Helper()
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

func TestTheFiveFiguresAreComputedAndPrinted(t *testing.T) {
	r := New(measured())
	f := r.Figures
	if f.RequestsPerS != 495 || f.SuccessRate != 0.99 || *f.QueriesPerRequest != 0.05 || *f.HitRate["redis"] != 0.8 ||
		*f.WithoutSource != 0.996 || f.LatencyMS.Max != 10 || f.Generator.CPUMicrosPerRequest != 10 {
		t.Errorf("got %+v", f)
	}
	got := text(t, r)
	for _, want := range []string{
		"throughput        495 requests/s        990 accepted in 2.00 s",
		"latency           p50 5.02 ms           p95 9.54 ms   p99 9.92 ms   max 10.0 ms",
		"success           99.00 %               201 × 990   503 queue_full × 10",
		"queries/request   0.0500                keys 4   find 6   insert 40",
		"cache hits        99.60 %               memory 98.00 %   redis 80.00 %   source 100.00 %",
		"load generator    10.0 µs CPU/request   0.01 of",
		"FAILED: success 99.00 %, at least 100.00 % wanted",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no line %q in\n%s", want, got)
		}
	}
}

func TestFiguresOfAnotherServiceAreNotAvailable(t *testing.T) {
	r := New(foreign())
	f := r.Figures
	if f.QueriesPerRequest != nil || f.HitRate != nil || f.WithoutSource != nil || f.WriterStatements != nil {
		t.Errorf("got %+v", f)
	}
	got := text(t, r)
	for _, want := range []string{
		"queries/request   not available         writer: no keygate counters there",
		"cache hits        not available         proxy: http://127.0.0.1:9080 does not answer",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no line %q in\n%s", want, got)
		}
	}
}

func TestAProxyBeforeAnotherAPIStillShowsItsTiers(t *testing.T) {
	m := measured()
	m.Usage.WriterMissing = "its counters did not move"
	r := New(m)
	if r.Figures.WithoutSource == nil || r.Figures.QueriesPerRequest != nil || *r.Figures.SourceQueries != 4 {
		t.Errorf("got %+v", r.Figures)
	}
}

func TestThresholdsDecide(t *testing.T) {
	for name, c := range map[string]struct {
		thresholds  config.Thresholds
		interrupted bool
		passed      bool
	}{
		"success too low":  {config.Thresholds{MinSuccess: 1}, false, false},
		"success enough":   {config.Thresholds{MinSuccess: 0.99}, false, true},
		"p99 too high":     {config.Thresholds{MaxP99: 9 * time.Millisecond}, false, false},
		"p99 low enough":   {config.Thresholds{MaxP99: 10 * time.Millisecond}, false, true},
		"rate too low":     {config.Thresholds{MinRate: 496}, false, false},
		"rate high enough": {config.Thresholds{MinRate: 495}, false, true},
		"one of three":     {config.Thresholds{MinSuccess: 0.9, MaxP99: time.Second, MinRate: 496}, false, false},
		"interrupted":      {config.Thresholds{}, true, false},
	} {
		m := measured()
		m.Options.Thresholds, m.Run.Truncated = c.thresholds, c.interrupted
		r := New(m)
		if r.Passed != c.passed || strings.Contains(text(t, r), "passed") != c.passed {
			t.Errorf("%s: passed %v, %v", name, r.Passed, r.Thresholds)
		}
	}
}

func TestARunWithoutRequestsDoesNotPass(t *testing.T) {
	m := measured()
	m.Run = &run.Result{Latency: &hist.Hist{}, Lag: &hist.Hist{}, Timeline: hist.NewTimeline()}
	m.Options.Thresholds = config.Thresholds{}
	r := New(m)
	if r.Passed {
		t.Error("it passed")
	}
	if err := r.WriteJSON(filepath.Join(t.TempDir(), "r.json")); err != nil {
		t.Error(err)
	}
	if got := written(t, r.WriteHTML); strings.Contains(got, "NaN") || strings.Contains(got, "Inf") {
		t.Error("the page holds numbers that are none")
	}
}

func written(tb testing.TB, write func(path string) error) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "result")
	if err := write(path); err != nil {
		tb.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(got)
}

// The members that readers of the file rely on. To remove or rename one is to change the schema's number.
func TestTheJSONFileHoldsItsSchema(t *testing.T) {
	var got map[string]any
	content := written(t, New(measured()).WriteJSON)
	if err := json.Unmarshal([]byte(content), &got); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		"": {"tool", "schema", "started_at", "commit", "machine", "flags", "figures", "thresholds", "interrupted", "passed",
			"timeline", "histogram"},
		"machine": {"cores", "model", "os", "go"},
		"flags":   {"target", "requests", "concurrency", "timeout_s", "keys", "batch"},
		"figures": {"elapsed_s", "requests", "answered", "accepted", "requests_per_s", "events", "events_accepted",
			"events_per_s", "success_rate", "latency_ms", "outcomes", "queries_per_request", "source_queries",
			"writer_statements", "hit_rate", "answered_without_source", "generator"},
	} {
		object := got
		if path != "" {
			object = got[path].(map[string]any)
		}
		slices.Sort(want)
		if names := slices.Sorted(maps.Keys(object)); !slices.Equal(names, want) {
			t.Errorf("%q holds %v, want %v", path, names, want)
		}
	}
	counted := 0.0
	for _, bucket := range got["histogram"].([]any) {
		counted += bucket.(map[string]any)["count"].(float64)
	}
	if counted != 1000 || got["schema"] != 1.0 {
		t.Errorf("the histogram counts %v of schema %v", counted, got["schema"])
	}
	if strings.Contains(content, "secret") {
		t.Error("the key is in the file")
	}
}

func TestThePageNeedsNothingButItself(t *testing.T) {
	for _, m := range []Measured{measured(), foreign()} {
		got := written(t, New(m).WriteHTML)
		if found := regexp.MustCompile(`(?i)(src|href|@import|url\(|<script|<link)[^>]*`).FindString(got); found != "" {
			t.Errorf("it refers to something: %s", found)
		}
		if strings.Contains(got, "NaN") || strings.Contains(got, "%!") || strings.Contains(got, "secret") {
			t.Error("it holds something that was not meant to be shown")
		}
		if strings.Count(got, "<svg") != 3 || !strings.Contains(got, "prefers-color-scheme: dark") ||
			!strings.Contains(got, "events?&lt;&amp;&gt;") || !strings.Contains(got, `class="failed"`) {
			t.Error("a plot, the dark colours, the escaped target or the mark of failures is missing")
		}
	}
}

func TestNoFailureIsRoundedAway(t *testing.T) {
	for share, want := range map[float64]string{1: "100.00 %", 0.999999: "over 99.99 %", 0.9999: "99.99 %", 0: "0.00 %"} {
		if got := percent(share); got != want {
			t.Errorf("%v: got %s, want %s", share, got, want)
		}
	}
}
