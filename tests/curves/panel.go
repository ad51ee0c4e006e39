package main

import (
	"math"
	"slices"

	"keygate/tests/load/chart"
)

// panel is one quantity over the size.
type panel struct {
	name string // with the unit
	of   func(sample) float64
	// spread is a ratio of largest to smallest from which an axis is logarithmic; below, it begins at 0.
	spread float64
}

var (
	throughput = panel{"requests answered 201 a second", func(s sample) float64 { return s.PerSecond }, 20}
	tail       = panel{"p99 latency, milliseconds", func(s sample) float64 { return s.P99 }, 4}
	memory     = panel{"resident memory of the proxy, MiB", func(s sample) float64 { return s.RSS }, math.Inf(1)}
)

// middle is the median of the rounds at a point, and the smallest and largest.
func (p point) middle(of func(sample) float64) (low, median, high float64) {
	var values []float64
	for _, s := range p.Rounds {
		values = append(values, of(s))
	}
	slices.Sort(values)
	n := len(values)
	return values[0], (values[(n-1)/2] + values[n/2]) / 2, values[n-1]
}

// picture draws the panels of a curve.
func (r *result) picture(panels []panel) []byte {
	var sizes []float64
	for _, s := range r.Series {
		for _, p := range s.Points {
			sizes = append(sizes, p.X)
		}
	}
	slices.Sort(sizes)
	x := chart.Steps(slices.Compact(sizes), r.X.Logarithmic, r.X.label)
	x.Name = r.X.Name
	var charts []chart.Chart
	for _, p := range panels {
		charts = append(charts, r.chart(x, p))
	}
	return chart.Document(r.Title, charts...)
}

func (r *result) chart(x chart.Axis, p panel) chart.Chart {
	c := chart.Chart{X: x}
	smallest, largest := math.Inf(1), 0.0
	for i, s := range r.Series {
		line := chart.Series{Name: s.Name, Class: chart.Classes[i%len(chart.Classes)]}
		for _, at := range s.Points {
			low, median, high := at.middle(p.of)
			line.Points = append(line.Points, chart.Point{X: at.X, Y: median, Low: low, High: high})
			smallest, largest = min(smallest, low), max(largest, high)
		}
		c.Series = append(c.Series, line)
	}
	if c.Y = chart.Linear(largest, ""); largest > p.spread*smallest {
		c.Y = chart.Logarithmic(smallest, largest, "")
	}
	c.Y.Name = p.name
	return c
}

// label names a size.
func (s scale) label(v float64) string {
	const kib, mib = 1 << 10, 1 << 20
	switch {
	case s.Unit != "bytes":
		return chart.Thousands(v)
	case v >= mib:
		return chart.Thousands(v/mib) + " MiB"
	case v >= kib:
		return chart.Thousands(v/kib) + " KiB"
	}
	return chart.Thousands(v) + " B"
}
