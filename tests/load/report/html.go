package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"math"
	"os"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// WriteHTML writes the result as a page that needs nothing but itself.
func (r *Result) WriteHTML(path string) error {
	var b bytes.Buffer
	err := page.Execute(&b, map[string]any{
		"Result": r, "Tiles": r.tiles(), "Rows": r.Rows(), "Latency": r.latencyChart().svg(), "Rate": r.rateChart().svg(),
		"Percentiles": r.percentileChart().svg(),
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
func (r *Result) latencyChart() chart {
	p50, p99 := series{name: "p50"}, series{name: "p99"}
	low, high := math.Inf(1), 0.0
	for _, i := range r.Timeline {
		x, missing := r.middle(i), i.Measured == 0 || r.fragment(i)
		p50.points = append(p50.points, point{x, i.P50MS, missing})
		p99.points = append(p99.points, point{x, i.P99MS, missing})
		if !missing {
			low, high = min(low, i.P50MS), max(high, i.P99MS)
		}
	}
	return chart{
		title: "p50 and p99 latency over the time of the run", x: span(r.Figures.ElapsedS),
		y: logarithmic(low, high, " ms"), series: []series{p99, p50}, bands: r.bands(),
	}
}

// rateChart is how many requests finished a second.
func (r *Result) rateChart() chart {
	rate, top := series{name: "rate"}, 0.0
	for _, i := range r.Timeline {
		perSecond := float64(i.Measured) / r.length(i)
		rate.points = append(rate.points, point{r.middle(i), perSecond, r.fragment(i)})
		if !r.fragment(i) {
			top = max(top, perSecond)
		}
	}
	return chart{
		title: "requests finished a second", x: span(r.Figures.ElapsedS), y: linear(top, ""),
		series: []series{rate}, bands: r.bands(),
	}
}

// percentileChart is the latency that a share of all requests stayed below; each nine takes the same width.
func (r *Result) percentileChart() chart {
	curve, total, seen := series{name: "latency"}, int64(0), int64(0)
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
		curve.points = append(curve.points, point{x: x, y: y})
		seen += b.Count
	}
	if total > 0 {
		curve.points = append(curve.points, point{x: 1, y: r.Figures.LatencyMS.Max})
	}
	x := axis{place: place, ticks: []tick{{0, "0 %"}, {0.5, "50 %"}}}
	for nines := 1; float64(nines) <= depth; nines++ {
		share := 1 - math.Pow(10, -float64(nines))
		x.ticks = append(x.ticks, tick{share, fmt.Sprintf("%.*f %%", max(nines-2, 0), 100*share)})
	}
	return chart{title: "latency by percentile", x: x, y: logarithmic(low, high, " ms"), series: []series{curve}}
}

func (r *Result) bands() []band {
	list := make([]band, len(r.Timeline))
	for n, i := range r.Timeline {
		list[n] = band{i.AtS, i.AtS + r.length(i), fmt.Sprintf(
			"%s s: %s requests/s, p50 %s ms, p99 %s ms, max %s ms, failed %s", short(i.AtS),
			thousands(float64(i.Measured)/r.length(i)), short(i.P50MS), short(i.P99MS), short(i.MaxMS),
			thousands(float64(i.Failed))), i.Failed > 0}
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
