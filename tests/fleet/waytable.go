package main

import (
	"context"
	"fmt"
	"strings"

	"keygate/tests/load/hist"
)

// wayResult is what was found of one way. Times are in milliseconds.
type wayResult struct {
	Way         string    `json:"way"`
	Revocations int       `json:"revocations"`
	Refused     quantiles `json:"refused_by_all_ms"`
	Told        quantiles `json:"statement_or_call_ms"`
	Passed      quantiles `json:"last_let_through_sent_ms"`
	Missed      int       `json:"missed"`   // still let through after ten seconds
	Back        int       `json:"back"`     // let through in the end
	Untimely    int       `json:"untimely"` // let through by requests sent after the endpoint had said complete

	Unknown int `json:"unknown"` // refused with 503 at first

	Exported    int     `json:"exported"` // how many the proxies themselves have counted
	ExportedP50 float64 `json:"exported_p50_ms_at_most"`
	ExportedP99 float64 `json:"exported_p99_ms_at_most"`

	CustomersSent   int64         `json:"customers_sent"`
	CustomersServed int64         `json:"customers_served"`
	CustomersPerS   float64       `json:"customers_per_s"`
	CustomersMS     quantiles     `json:"customers_ms"`
	Histogram       []hist.Bucket `json:"histogram_ns"`
}

func newWayResult(w way, all []revocation, saw *served, back int, exported buckets) wayResult {
	var refused, told, passed hist.Hist
	r := wayResult{Way: w.Name, Revocations: len(all), Back: back}
	for _, one := range all {
		if one.missed {
			r.Missed++
			continue
		}
		refused.Record(one.refused)
		told.Record(one.told)
		passed.Record(one.passed)
		r.Untimely += one.untimely
		r.Unknown += one.unknown
	}
	r.Refused, r.Told, r.Passed = quantilesOf(&refused), quantilesOf(&told), quantilesOf(&passed)
	r.Histogram = refused.Buckets()
	r.Exported, r.ExportedP50, r.ExportedP99 = exported.count(), 1000*exported.within(.5), 1000*exported.within(.99)
	r.CustomersSent, r.CustomersServed = saw.sent, saw.passed
	r.CustomersPerS, r.CustomersMS = float64(saw.sent)/saw.elapsed.Seconds(), quantilesOf(&saw.latency)
	return r
}

// measureRevocations goes through the ways in, one after the other.
func measureRevocations(ctx context.Context, b *bench, o options) (*result, error) {
	r, err := newResult(ctx, b, "revocations")
	if err != nil {
		return nil, err
	}
	var all []wayResult
	for _, w := range ways {
		found, err := measureWay(ctx, b, w, o.revocations/len(ways), o.rate)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.Name, err)
		}
		all = append(all, found)
	}
	r.also = map[string]string{".svg": plot(all)}
	return r.finish(all, wayTable(all)), nil
}

func wayTable(all []wayResult) string {
	var text strings.Builder
	text.WriteString("From before the change until the last proxy refused the key; each is asked 2 ms after each answer.\n" +
		"Times are p50 / p99 / p99.9 / max in ms.\n\n" +
		"| told by | keys | refused by all | last one let through was sent | statement or call | missed, back, untimely; 503 | " +
		"exported: count, p50 ≤, p99 ≤ ms | customers: a second, failed, ms |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range all {
		fmt.Fprintf(&text, "| %s | %d | %s | %s | %s | %d, %d, %d; %d | %d, %g, %g | %.0f, %d, %s |\n", r.Way, r.Revocations,
			r.Refused, r.Passed, r.Told, r.Missed, r.Back, r.Untimely, r.Unknown, r.Exported, r.ExportedP50, r.ExportedP99,
			r.CustomersPerS, r.CustomersSent-r.CustomersServed, r.CustomersMS)
	}
	return text.String()
}
