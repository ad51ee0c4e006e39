package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
)

// The drawing's own units; the page scales it to the width there is.
const (
	chartWidth, chartHeight            = 920.0, 280.0
	marginLeft, marginRight, marginTop = 64.0, 56.0, 14.0
	marginBottom                       = 34.0
	plotWidth                          = chartWidth - marginLeft - marginRight
	plotHeight                         = chartHeight - marginTop - marginBottom
	// Up to this many points each is drawn as a dot as well: a line through few points hides how few they are.
	fewPoints = 40
)

// chart is one plot: points are in the units of the axes.
type chart struct {
	title  string // for those who cannot see it
	x, y   axis
	series []series
	bands  []band
}

// axis maps a value to a share (0 to 1) of the plot, and names some values.
type axis struct {
	place func(v float64) float64
	ticks []tick
}

type tick struct {
	at    float64
	label string
}

// series is one line, broken where a point is missing; the name is written where it ends and is its CSS class.
type series struct {
	name   string
	points []point
}

type point struct {
	x, y    float64
	missing bool
}

// band is an invisible strip that shows text under the pointer, marked if something failed in it.
type band struct {
	from, to float64
	text     string
	failed   bool
}

func (c chart) svg() template.HTML {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %.0f %.0f" role="img" aria-label="%s">`,
		chartWidth, chartHeight, html.EscapeString(c.title))
	for _, t := range c.y.ticks {
		y := c.y.down(t.at)
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1[3]f"/>`,
			marginLeft, chartWidth-marginRight, y)
		fmt.Fprintf(&b, `<text class="tick end" x="%.1f" y="%.1f">%s</text>`, marginLeft-8, y+4, html.EscapeString(t.label))
	}
	for _, t := range c.x.ticks {
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1[1]f" y1="%.1f" y2="%.1f"/>`,
			c.x.across(t.at), marginTop, chartHeight-marginBottom)
		fmt.Fprintf(&b, `<text class="tick mid" x="%.1f" y="%.1f">%s</text>`,
			c.x.across(t.at), chartHeight-12, html.EscapeString(t.label))
	}
	for _, s := range c.bands {
		if s.failed {
			fmt.Fprintf(&b, `<rect class="failed" x="%.1f" y="%.1f" width="%.1f" height="5"/>`,
				c.x.across(s.from), chartHeight-marginBottom, max(c.x.across(s.to)-c.x.across(s.from), 2))
		}
	}
	for _, s := range c.series {
		c.line(&b, s)
	}
	c.labels(&b)
	for _, s := range c.bands {
		fmt.Fprintf(&b, `<rect class="band" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s</title></rect>`,
			c.x.across(s.from), marginTop, c.x.across(s.to)-c.x.across(s.from), plotHeight, html.EscapeString(s.text))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) // numbers and escaped text only
}

func (c chart) line(b *strings.Builder, s series) {
	fmt.Fprintf(b, `<path class="line %s" d="`, s.name)
	move := true
	for _, p := range s.points {
		if p.missing {
			move = true
			continue
		}
		command := "L"
		if move {
			command = "M"
		}
		fmt.Fprintf(b, "%s%.1f %.1f", command, c.x.across(p.x), c.y.down(p.y))
		move = false
	}
	b.WriteString(`"/>`)
	if len(s.points) > fewPoints {
		return
	}
	for _, p := range s.points {
		if !p.missing {
			fmt.Fprintf(b, `<circle class="dot %s" cx="%.1f" cy="%.1f" r="3"/>`, s.name, c.x.across(p.x), c.y.down(p.y))
		}
	}
}

// labels writes each series' name beside its last point, pushed apart where lines end close together. A single line
// needs none.
func (c chart) labels(b *strings.Builder) {
	if len(c.series) < 2 {
		return
	}
	const apart = 14.0
	above := math.Inf(-1)
	for _, s := range c.series { // listed from the upper line to the lower one
		for i := len(s.points) - 1; i >= 0; i-- {
			if p := s.points[i]; !p.missing {
				above = max(c.y.down(p.y)+4, above+apart)
				fmt.Fprintf(b, `<text class="name %s" x="%.1f" y="%.1f">%s</text>`, s.name, c.x.across(p.x)+8, above, s.name)
				break
			}
		}
	}
}

func (a axis) across(v float64) float64 { return marginLeft + a.place(v)*plotWidth }
func (a axis) down(v float64) float64   { return marginTop + (1-a.place(v))*plotHeight }

// linear is an axis from 0 to a round value at or above top.
func linear(top float64, unit string) axis {
	step := roundStep(max(top, 1e-9) / 4)
	end := max(math.Ceil(top/step-1e-9), 1) * step
	a := axis{place: func(v float64) float64 { return v / end }}
	for i := 0.0; i*step <= end*(1+1e-9); i++ {
		a.ticks = append(a.ticks, tick{i * step, trimmed(i*step) + unit})
	}
	return a
}

// span is an axis of time from 0 to exactly end seconds.
func span(end float64) axis {
	end = max(end, 1e-9)
	step := roundStep(end / 8)
	a := axis{place: func(v float64) float64 { return min(v/end, 1) }}
	for i := 0.0; i*step <= end; i++ {
		a.ticks = append(a.ticks, tick{i * step, trimmed(i*step) + " s"})
	}
	return a
}

// logarithmic is an axis from low to high, both widened to 1, 2 or 5 times a power of ten.
func logarithmic(low, high float64, unit string) axis {
	var steps []float64
	high = max(high, 2e-3)
	low = min(max(low, 1e-3), high) // of no values at all, low would be infinite
	for decade := math.Floor(math.Log10(low)); decade <= math.Ceil(math.Log10(high)); decade++ {
		for _, digit := range []float64{1, 2, 5} {
			steps = append(steps, digit*math.Pow(10, decade))
		}
	}
	for len(steps) > 2 && steps[1] <= low {
		steps = steps[1:]
	}
	for len(steps) > 2 && steps[len(steps)-2] >= high {
		steps = steps[:len(steps)-1]
	}
	first, last := math.Log(steps[0]), math.Log(steps[len(steps)-1])
	a := axis{place: func(v float64) float64 { return (math.Log(max(v, steps[0])) - first) / (last - first) }}
	const room = 8 // more labels than this, and only the powers of ten get one
	for _, v := range steps {
		if power := math.Log10(v); len(steps) <= room || math.Abs(power-math.Round(power)) < 1e-9 {
			a.ticks = append(a.ticks, tick{v, trimmed(v) + unit})
		}
	}
	return a
}

// roundStep is the smallest of 1, 2 or 5 times a power of ten that is at least v.
func roundStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, digit := range []float64{1, 2, 5} {
		if digit*power >= v*(1-1e-9) {
			return digit * power
		}
	}
	return 10 * power
}

// trimmed is a round number without digits that say nothing.
func trimmed(v float64) string {
	if v >= 1000 {
		return thousands(v)
	}
	return fmt.Sprintf("%g", math.Round(v*1e6)/1e6)
}
