package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"math"
	"os"

	"keygate/tests/load/chart"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// WriteHTML writes the result as a page that needs nothing but itself.
func (r *Result) WriteHTML(path string) error {
	var b bytes.Buffer
	err := page.Execute(&b, map[string]any{
		"Result": r, "Tiles": r.tiles(), "Rows": r.Rows(), "Latency": r.latencyChart().SVG(), "Rate": r.rateChart().SVG(),
		"Percentiles": r.percentileChart().SVG(),
	})
	if err != nil {
		return fmt.Errorf("laying out the report: %w", err)
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// tiles are the figures that a reader looks for first.
func (r *Result) tiles() []Row {
	f := &r.Figures
	return []Row{
		{"requests/s", short(f.RequestsPerS), ""}, {"success", percent(f.SuccessRate), ""},
		{"queries/request", r.queriesRow().Value, ""}, {"cache hits", r.hitsRow().Value, ""},
		{"p50", short(f.LatencyMS.P50) + " ms", ""}, {"p95", short(f.LatencyMS.P95) + " ms", ""},
		{"p99", short(f.LatencyMS.P99) + " ms", ""}, {"max", short(f.LatencyMS.Max) + " ms", ""},
	}
}

// latencyChart is p50 and p99 of what finished in each interval, over the time of the run.
func (r *Result) latencyChart() chart.Chart {
	p50, p99 := chart.Series{Name: "p50", Class: "p50"}, chart.Series{Name: "p99", Class: "p99"}
	low, high := math.Inf(1), 0.0
	for _, i := range r.Timeline {
		x, missing := r.middle(i), i.Measured == 0 || r.fragment(i)
		p50.Points = append(p50.Points, chart.Point{X: x, Y: i.P50MS, Missing: missing})
		p99.Points = append(p99.Points, chart.Point{X: x, Y: i.P99MS, Missing: missing})
		if !missing {
			low, high = min(low, i.P50MS), max(high, i.P99MS)
		}
	}
	return chart.Chart{
		Title: "p50 and p99 latency over the time of the run", X: chart.Span(r.Figures.ElapsedS),
		Y: chart.Logarithmic(low, high, " ms"), Series: []chart.Series{p99, p50}, Bands: r.bands(),
	}
}

// rateChart is how many requests finished a second.
func (r *Result) rateChart() chart.Chart {
	rate, top := chart.Series{Name: "rate", Class: "rate"}, 0.0
	for _, i := range r.Timeline {
		perSecond := float64(i.Measured) / r.length(i)
		rate.Points = append(rate.Points, chart.Point{X: r.middle(i), Y: perSecond, Missing: r.fragment(i)})
		if !r.fragment(i) {
			top = max(top, perSecond)
		}
	}
	return chart.Chart{
		Title: "requests finished a second", X: chart.Span(r.Figures.ElapsedS), Y: chart.Linear(top, ""),
		Series: []chart.Series{rate}, Bands: r.bands(),
	}
}

// percentileChart is the latency that a share of all requests stayed below; each nine takes the same width.
func (r *Result) percentileChart() chart.Chart {
	curve, total, seen := chart.Series{Name: "latency", Class: "latency"}, int64(0), int64(0)
	for _, b := range r.Histogram {
		total += b.Count
	}
	depth := max(math.Log10(float64(max(total, 1))), 1) // one request in a thousand is the end for a thousand requests
	place := func(share float64) float64 { return min(-math.Log10(max(1-share, 1e-12)), depth) / depth }
	low, high := math.Inf(1), 0.0
	for _, b := range r.Histogram {
		x, y := float64(seen)/float64(total), min(float64(b.ToUS)/1000, r.Figures.LatencyMS.Max)
		if high = max(high, y); x >= 0.1 { // the fastest tenth would stretch the axis for what nobody asks about
			low = min(low, y)
		}
		curve.Points = append(curve.Points, chart.Point{X: x, Y: y})
		seen += b.Count
	}
	if total > 0 {
		curve.Points = append(curve.Points, chart.Point{X: 1, Y: r.Figures.LatencyMS.Max})
	}
	x := chart.Scaled(place)
	x.Mark(0, "0 %")
	x.Mark(0.5, "50 %")
	for nines := 1; float64(nines) <= depth; nines++ {
		share := 1 - math.Pow(10, -float64(nines))
		x.Mark(share, fmt.Sprintf("%.*f %%", max(nines-2, 0), 100*share))
	}
	return chart.Chart{
		Title: "latency by percentile", X: x, Y: chart.Logarithmic(low, high, " ms"), Series: []chart.Series{curve},
	}
}

func (r *Result) bands() []chart.Band {
	list := make([]chart.Band, len(r.Timeline))
	for n, i := range r.Timeline {
		list[n] = chart.Band{From: i.AtS, To: i.AtS + r.length(i), Failed: i.Failed > 0, Text: fmt.Sprintf(
			"%s s: %s requests/s, p50 %s ms, p99 %s ms, max %s ms, failed %s", short(i.AtS),
			chart.Thousands(float64(i.Measured)/r.length(i)), short(i.P50MS), short(i.P99MS), short(i.MaxMS),
			chart.Thousands(float64(i.Failed)))}
	}
	return list
}

// length is the interval's width in seconds; the run ended somewhere in the last one.
func (r *Result) length(i Interval) float64 {
	return max(min(i.WidthS, r.Figures.ElapsedS-i.AtS), i.WidthS/100)
}

// fragment tells whether the run ended too early in the interval for it to stand for anything.
func (r *Result) fragment(i Interval) bool { return r.length(i) < i.WidthS/2 && i.AtS > 0 }

func (r *Result) middle(i Interval) float64 { return i.AtS + r.length(i)/2 }
