package report

import (
	"fmt"
	"time"

	"keygate/tests/load/chart"
	"keygate/tests/load/config"
	"keygate/tests/load/counters"
	"keygate/tests/load/hist"
	"keygate/tests/load/run"
)

// Threshold is one condition of the exit code.
type Threshold struct {
	Name  string  `json:"name"`
	Want  float64 `json:"want"`
	Got   float64 `json:"got"`
	Holds bool    `json:"holds"`
}

func figures(m *run.Result) Figures {
	seconds := max(m.Elapsed.Seconds(), 1e-9)
	f := Figures{
		ElapsedS: m.Elapsed.Seconds(), Requests: m.Requests, Answered: m.Answered, Accepted: m.OK,
		RequestsPerS: float64(m.OK) / seconds,
		Events:       m.Events, EventsAccepted: m.Accepted, EventsRepeated: m.Repeated,
		EventsPerS: float64(m.Accepted) / seconds, SuccessRate: ratio(m.Accepted, m.Events), LatencyMS: quantiles(m.Latency),
		Outcomes: m.Outcomes, Rejected: m.Rejected,
		Generator: Generator{
			CPUMicrosPerRequest: float64(m.CPU.Microseconds()) / float64(max(m.Requests, 1)),
			CoresUsed:           m.CPU.Seconds() / seconds,
		},
	}
	if m.Lag.Count > 0 {
		lag := quantiles(m.Lag)
		f.Generator.LagMS = &lag
	}
	return f
}

// addUsage fills in what the two programs counted, as far as they did.
func (r *Result) addUsage(u counters.Usage) {
	f, requests := &r.Figures, float64(max(r.Figures.Answered, 1))
	if u.ProxyMissing == "" {
		f.SourceQueries, f.HitRate = &u.SourceQueries, map[string]*float64{}
		for _, name := range counters.Tiers {
			f.HitRate[name] = nil
			if share, asked := u.Tiers[name].HitRate(); asked {
				f.HitRate[name] = &share
			}
		}
		spared := 1 - u.Tiers["source"].Lookups/max(u.Tiers["memory"].Lookups, 1)
		f.WithoutSource = &spared
	} else {
		r.Missing["hit_rate"] = "proxy: " + u.ProxyMissing
		r.Missing["queries_per_request"] = "proxy: " + u.ProxyMissing
	}
	if u.WriterMissing == "" {
		f.WriterStatements = u.Statements
	} else {
		r.Missing["queries_per_request"] = "writer: " + u.WriterMissing
	}
	if u.ProxyMissing == "" && u.WriterMissing == "" {
		queries := (u.SourceQueries + u.StatementCount()) / requests
		f.QueriesPerRequest = &queries
	}
}

func judge(t config.Thresholds, f Figures) []Threshold {
	list := []Threshold{{"min_success", t.MinSuccess, f.SuccessRate, f.Events > 0 && f.SuccessRate >= t.MinSuccess}}
	if t.MaxP99 > 0 {
		limit := milliseconds(t.MaxP99)
		list = append(list, Threshold{"max_p99_ms", limit, f.LatencyMS.P99, f.LatencyMS.P99 <= limit})
	}
	if t.MinRate > 0 {
		list = append(list, Threshold{"min_rate", t.MinRate, f.RequestsPerS, f.RequestsPerS >= t.MinRate})
	}
	return list
}

func (t Threshold) String() string {
	switch t.Name {
	case "min_success":
		return fmt.Sprintf("success %s, at least %s wanted", percent(t.Got), percent(t.Want))
	case "max_p99_ms":
		return fmt.Sprintf("p99 %s ms, at most %s ms wanted", short(t.Got), short(t.Want))
	}
	return fmt.Sprintf("%s requests/s, at least %s wanted", chart.Thousands(t.Got), chart.Thousands(t.Want))
}

func intervals(timeline *hist.Timeline) []Interval {
	slots, width := timeline.Slots()
	list := make([]Interval, len(slots))
	for i := range slots {
		s := &slots[i]
		list[i] = Interval{
			AtS: (time.Duration(i) * width).Seconds(), WidthS: width.Seconds(), Measured: s.Latency.Count, Failed: s.Failed,
			P50MS: milliseconds(s.Latency.Quantile(0.5)), P99MS: milliseconds(s.Latency.Quantile(0.99)),
			MaxMS: milliseconds(s.Latency.Max),
		}
	}
	return list
}

func quantiles(h *hist.Hist) Quantiles {
	at := func(q float64) float64 { return milliseconds(h.Quantile(q)) }
	return Quantiles{P50: at(0.5), P90: at(0.9), P95: at(0.95), P99: at(0.99), P999: at(0.999), Max: milliseconds(h.Max)}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func ratio(part, whole int64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}
