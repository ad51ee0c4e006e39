// Package report turns a measured run into figures, and the figures into text, JSON and a page.
package report

import (
	"cmp"
	"encoding/json"
	"os"
	"time"

	"keygate/shared/build"
	"keygate/tests/load/config"
	"keygate/tests/load/counters"
	"keygate/tests/load/run"
)

// schemaVersion changes when a reader of the JSON file would have to.
const schemaVersion = 1

// Measured is everything that a run leaves behind.
type Measured struct {
	Options  config.Options
	Endpoint string
	Keys     int
	Started  time.Time
	Run      *run.Result
	Usage    counters.Usage
}

// Result is the JSON file. Times are in the unit that the name ends in.
type Result struct {
	Tool        string            `json:"tool"`
	Schema      int               `json:"schema"`
	StartedAt   time.Time         `json:"started_at"`
	Commit      string            `json:"commit"`
	Machine     Machine           `json:"machine"`
	Flags       Flags             `json:"flags"`
	Figures     Figures           `json:"figures"`
	Missing     map[string]string `json:"not_available,omitempty"` // figure → why
	Thresholds  []Threshold       `json:"thresholds"`
	Interrupted bool              `json:"interrupted"`
	Passed      bool              `json:"passed"`
	Timeline    []Interval        `json:"timeline"`
	Histogram   []Bucket          `json:"histogram"`
}

// Flags are the options of the run; the key is not among them.
type Flags struct {
	Target       string  `json:"target"`
	Requests     int64   `json:"requests,omitempty"`
	DurationS    float64 `json:"duration_s,omitempty"`
	RatePerS     float64 `json:"rate_per_s,omitempty"`
	Concurrency  int     `json:"concurrency"`
	WarmupS      float64 `json:"warmup_s,omitempty"`
	TimeoutS     float64 `json:"timeout_s"`
	Keys         int     `json:"keys"`
	Zipf         float64 `json:"zipf,omitempty"`
	Bearer       bool    `json:"bearer,omitempty"`
	Batch        int     `json:"batch"`
	Duplicates   float64 `json:"duplicates,omitempty"`
	PayloadBytes int     `json:"payload_bytes,omitempty"`
}

// Figures are what the run is for. Figures that could not be had are null, and explained under not_available.
type Figures struct {
	ElapsedS       float64          `json:"elapsed_s"`
	Requests       int64            `json:"requests"`
	Answered       int64            `json:"answered"`
	Accepted       int64            `json:"accepted"`
	RequestsPerS   float64          `json:"requests_per_s"` // of those accepted
	Events         int64            `json:"events"`
	EventsAccepted int64            `json:"events_accepted"`
	EventsRepeated int64            `json:"events_repeated,omitempty"` // batches only: a single answer does not tell
	EventsPerS     float64          `json:"events_per_s"`
	SuccessRate    float64          `json:"success_rate"` // of events
	LatencyMS      Quantiles        `json:"latency_ms"`
	Outcomes       map[string]int64 `json:"outcomes"`
	Rejected       map[string]int64 `json:"rejected_events,omitempty"`

	QueriesPerRequest *float64            `json:"queries_per_request"`
	SourceQueries     *float64            `json:"source_queries"`
	WriterStatements  map[string]float64  `json:"writer_statements"`
	HitRate           map[string]*float64 `json:"hit_rate"` // by tier; null for one that was not asked
	WithoutSource     *float64            `json:"answered_without_source"`

	Generator Generator `json:"generator"`
}

// Quantiles are latencies in milliseconds.
type Quantiles struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P95  float64 `json:"p95"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	Max  float64 `json:"max"`
}

// Generator is what the load generator itself cost, and how late it was in an open loop.
type Generator struct {
	CPUMicrosPerRequest float64    `json:"cpu_us_per_request"`
	CoresUsed           float64    `json:"cores_used"`
	LagMS               *Quantiles `json:"lag_ms,omitempty"`
}

// Interval is one point of the timeline.
type Interval struct {
	AtS      float64 `json:"at_s"`
	WidthS   float64 `json:"width_s"`
	Measured int64   `json:"measured"`
	Failed   int64   `json:"failed"`
	P50MS    float64 `json:"p50_ms"`
	P99MS    float64 `json:"p99_ms"`
	MaxMS    float64 `json:"max_ms"`
}

// Bucket counts the latencies over FromUS up to ToUS.
type Bucket struct {
	FromUS int64 `json:"from_us"`
	ToUS   int64 `json:"to_us"`
	Count  int64 `json:"count"`
}

// New works the figures out.
func New(m Measured) *Result {
	r := &Result{
		Tool: "loadtest", Schema: schemaVersion, StartedAt: m.Started.UTC(), Machine: thisMachine(),
		Commit: cmp.Or(build.Info().Commit, "unknown"), Flags: flags(m), Figures: figures(m.Run),
		Missing: map[string]string{}, Interrupted: m.Run.Truncated,
	}
	r.addUsage(m.Usage)
	r.Timeline = intervals(m.Run.Timeline)
	for _, b := range m.Run.Latency.Buckets() {
		r.Histogram = append(r.Histogram, Bucket{b.From.Microseconds(), b.To.Microseconds(), b.Count})
	}
	r.Thresholds = judge(m.Options.Thresholds, r.Figures)
	r.Passed = !r.Interrupted
	for _, t := range r.Thresholds {
		r.Passed = r.Passed && t.Holds
	}
	return r
}

// WriteJSON writes the result to a file.
func (r *Result) WriteJSON(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

func flags(m Measured) Flags {
	load, events := m.Options.Load, m.Options.Traffic
	return Flags{
		Target: m.Endpoint, Requests: load.Requests, DurationS: load.Duration.Seconds(), RatePerS: load.Rate,
		Concurrency: load.Concurrency, WarmupS: load.Warmup.Seconds(), TimeoutS: load.Timeout.Seconds(),
		Keys: m.Keys, Zipf: events.Zipf, Bearer: events.Bearer, Batch: events.Batch, Duplicates: events.Duplicates,
		PayloadBytes: events.PayloadBytes,
	}
}
