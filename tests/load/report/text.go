package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"keygate/tests/load/chart"
	"keygate/tests/load/counters"
)

const notAvailable = "not available"

// Row is one line of the summary: what it is, the figure, and what explains it.
type Row struct{ Name, Value, Note string }

// WriteText writes the summary for a person.
func (r *Result) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s\n\n", r.Flags.Target, r.Flags)
	for _, row := range r.Rows() {
		line := fmt.Sprintf("  %-18s%-22s%s", row.Name, row.Value, row.Note)
		fmt.Fprintln(&b, strings.TrimRight(line, " "))
	}
	b.WriteString("\n")
	if r.Interrupted {
		b.WriteString("interrupted: the figures are of what was done until then\n")
	}
	for _, t := range r.Thresholds {
		if !t.Holds {
			fmt.Fprintf(&b, "FAILED: %s\n", t)
		}
	}
	if r.Passed {
		b.WriteString("passed\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Rows is the summary.
func (r *Result) Rows() []Row {
	f := &r.Figures
	rows := []Row{
		{"throughput", chart.Thousands(f.RequestsPerS) + " requests/s",
			fmt.Sprintf("%s accepted in %s s", chart.Thousands(float64(f.Accepted)), short(f.ElapsedS))},
		{"latency", "p50 " + short(f.LatencyMS.P50) + " ms", fmt.Sprintf("p95 %s ms   p99 %s ms   max %s ms",
			short(f.LatencyMS.P95), short(f.LatencyMS.P99), short(f.LatencyMS.Max))},
		{"success", percent(f.SuccessRate), counts(f.Outcomes)},
	}
	if r.Flags.Batch > 1 {
		rows = slices.Insert(rows, 1, Row{"", chart.Thousands(f.EventsPerS) + " events/s",
			fmt.Sprintf("%d a request, %s of them repeated", r.Flags.Batch, chart.Thousands(float64(f.EventsRepeated)))})
	}
	if len(f.Rejected) > 0 {
		rows = append(rows, Row{"rejected events", "", counts(f.Rejected)})
	}
	rows = append(rows, r.queriesRow(), r.hitsRow(), r.generatorRow())
	return slices.DeleteFunc(rows, func(row Row) bool { return row == Row{} })
}

func (r *Result) queriesRow() Row {
	f := &r.Figures
	var parts []string
	if f.SourceQueries != nil {
		parts = append(parts, "keys "+chart.Thousands(*f.SourceQueries))
	}
	for _, kind := range slices.Sorted(maps.Keys(f.WriterStatements)) {
		parts = append(parts, kind+" "+chart.Thousands(f.WriterStatements[kind]))
	}
	if f.QueriesPerRequest == nil {
		parts = append(parts, r.Missing["queries_per_request"])
		return Row{"queries/request", notAvailable, strings.Join(parts, "   ")}
	}
	return Row{"queries/request", strconv.FormatFloat(*f.QueriesPerRequest, 'f', 4, 64), strings.Join(parts, "   ")}
}

func (r *Result) hitsRow() Row {
	f := &r.Figures
	if f.WithoutSource == nil {
		return Row{"cache hits", notAvailable, r.Missing["hit_rate"]}
	}
	var tiers []string
	for _, name := range counters.Tiers {
		text := "not asked"
		if share := f.HitRate[name]; share != nil {
			text = percent(*share)
		}
		tiers = append(tiers, name+" "+text)
	}
	return Row{"cache hits", percent(*f.WithoutSource), strings.Join(tiers, "   ")}
}

func (r *Result) generatorRow() Row {
	g := r.Figures.Generator
	note := fmt.Sprintf("%s of %d cores", short(g.CoresUsed), r.Machine.Cores)
	if g.CoresUsed > 0.9*float64(r.Machine.Cores) {
		note += ": it may be the limit"
	}
	if g.LagMS != nil {
		note += fmt.Sprintf("   sent late by p50 %s ms, p99 %s ms", short(g.LagMS.P50), short(g.LagMS.P99))
	}
	return Row{"load generator", short(g.CPUMicrosPerRequest) + " µs CPU/request", note}
}

// String is the run in words.
func (f Flags) String() string {
	text := chart.Thousands(float64(f.Requests)) + " requests"
	if f.DurationS > 0 {
		text = fmt.Sprintf("for %g s", f.DurationS)
	}
	text += fmt.Sprintf(", %d connections", f.Concurrency)
	if f.RatePerS > 0 {
		text += ", open loop at " + chart.Thousands(f.RatePerS) + "/s"
	}
	if f.Batch > 1 {
		text += fmt.Sprintf(", batches of %d", f.Batch)
	}
	if f.Keys > 1 {
		text += ", " + chart.Thousands(float64(f.Keys)) + " keys"
	}
	if f.Zipf > 0 {
		text += fmt.Sprintf(" (Zipf %g)", f.Zipf)
	}
	if f.Duplicates > 0 {
		text += ", " + percent(f.Duplicates) + " repeated"
	}
	if f.PayloadBytes > 0 {
		text += ", payloads of " + chart.Thousands(float64(f.PayloadBytes)) + " bytes"
	}
	return text
}

func counts(of map[string]int64) string {
	var list []string
	for _, label := range slices.Sorted(maps.Keys(of)) {
		list = append(list, label+" × "+chart.Thousands(float64(of[label])))
	}
	return strings.Join(list, "   ")
}

// percent never rounds a failure away: 99.999 % is not 100 %.
func percent(share float64) string {
	text := strconv.FormatFloat(100*share, 'f', 2, 64)
	if text == "100.00" && share < 1 {
		return "over 99.99 %"
	}
	return text + " %"
}

// short is a figure with three digits that matter.
func short(v float64) string {
	switch {
	case v >= 100:
		return chart.Thousands(v)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
