package main

import (
	"fmt"
	"html"
	"math"
	"strings"
	"time"
)

// The plot is one row of bars for each way over a common axis of time, which is logarithmic.
const (
	plotWidth, rowHeight = 860.0, 130.0
	plotLeft, plotRight  = 56.0, 24.0
	barsTop              = 34.0 // below the name of the way
	binsPerDecade        = 20
	firstMS, lastMS      = 0.5, 2000.0
	markMS               = 1000.0 // until when every proxy has to refuse
)

const plotStyle = `text{font:12px system-ui,sans-serif;fill:#333}.way{font-weight:600}.bar{fill:#3b6ea5}.grid{stroke:#ddd}` +
	`.mark{stroke:#c0392b;stroke-dasharray:4 3}.figure{stroke:#333}` +
	`@media(prefers-color-scheme:dark){text{fill:#ddd}.bar{fill:#6ea8dc}.grid{stroke:#444}.figure{stroke:#ddd}` +
	`.paper{fill:#111}}.paper{fill:#fff}`

// plot draws how long revocations took, in SVG that needs nothing but itself.
func plot(all []wayResult) string {
	height := rowHeight*float64(len(all)) + 40
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" role="img" aria-label="`+
		`Time from a change until the last proxy refuses the key, by how it was told"><style>%s</style>`+
		`<rect class="paper" width="100%%" height="100%%"/>`, plotWidth, height, plotStyle)
	bottom := rowHeight * float64(len(all))
	for n, r := range all {
		grid(&b, rowHeight*float64(n))
		row(&b, r, rowHeight*float64(n))
	}
	for _, v := range ticks {
		label(&b, "", "middle", across(v), bottom+18, fmt.Sprintf("%g", v))
	}
	label(&b, "", "end", plotWidth-plotRight, bottom+34, "ms from before the change until the last of four proxies refuses")
	b.WriteString("</svg>\n")
	return b.String()
}

var ticks = []float64{.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000}

// grid leaves the line of text above the bars alone.
func grid(b *strings.Builder, top float64) {
	for _, v := range ticks {
		line(b, "grid", across(v), top+barsTop-8, top+rowHeight)
	}
	line(b, "mark", across(markMS), top+barsTop-8, top+rowHeight)
}

// row draws the bars of one way below top.
func row(b *strings.Builder, r wayResult, top float64) {
	bins, most := make(map[int]int64), int64(1)
	for _, bucket := range r.Histogram {
		bin := binOf(float64((bucket.From+bucket.To)/2) / float64(time.Millisecond))
		bins[bin] += bucket.Count
		most = max(most, bins[bin])
	}
	base, room := top+rowHeight, rowHeight-barsTop-10
	for bin, count := range bins {
		// A single one among thousands is still to be seen.
		height := max(room*float64(count)/float64(most), 2)
		from, to := across(startOf(bin)), across(startOf(bin+1))
		fmt.Fprintf(b, `<rect class="bar" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%.1f to %.1f ms: %d</title></rect>`,
			from, base-height, max(to-from-1, 1), height, startOf(bin), startOf(bin+1), count)
	}
	line(b, "grid", plotLeft, base, base)
	label(b, "way", "start", plotLeft, top+18, fmt.Sprintf("%s: %d keys", r.Way, r.Revocations))
	figures := fmt.Sprintf("p50 %.1f ms, p99 %.1f ms, max %.1f ms", r.Refused.P50, r.Refused.P99, r.Refused.Max)
	label(b, "", "end", plotWidth-plotRight, top+18, figures)
	label(b, "", "end", plotLeft-6, base-room+4, fmt.Sprint(most))
	for _, v := range []float64{r.Refused.P50, r.Refused.P99, r.Refused.Max} {
		line(b, "figure", across(v), base, base+5)
	}
}

func line(b *strings.Builder, class string, x, from, to float64) {
	end := x
	if from == to { // a base, which is as wide as the plot
		end = plotWidth - plotRight
	}
	fmt.Fprintf(b, `<line class="%s" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, class, x, end, from, to)
}

func label(b *strings.Builder, class, anchor string, x, y float64, text string) {
	fmt.Fprintf(b, `<text class="%s" text-anchor="%s" x="%.1f" y="%.1f">%s</text>`,
		class, anchor, x, y, html.EscapeString(text))
}

func binOf(ms float64) int { return int(math.Floor(math.Log10(max(ms, firstMS)) * binsPerDecade)) }

func startOf(bin int) float64 { return math.Pow(10, float64(bin)/binsPerDecade) }

// across places milliseconds on the axis.
func across(ms float64) float64 {
	share := math.Log(max(min(ms, lastMS), firstMS)/firstMS) / math.Log(lastMS/firstMS)
	return plotLeft + share*(plotWidth-plotLeft-plotRight)
}
