// Package chart draws lines over two axes as SVG, for a page that has its colours or as a picture that needs nothing else.
package chart

import (
	"cmp"
	"fmt"
	"html"
	"html/template"
	"math"
	"slices"
	"strings"
)

// The drawing's own units; the page scales it to the width there is.
const (
	width, height               = 920.0, 280.0
	left, right, above, beneath = 64.0, 56.0, 14.0, 34.0
	plotWidth                   = width - left - right
	plotHeight                  = height - above - beneath
	// Up to this many points each is drawn as a dot as well: a line through few points hides how few they are.
	fewPoints = 40
)

// Chart is one plot: points are in the units of the axes.
type Chart struct {
	Title  string // for those who cannot see it
	X, Y   Axis
	Series []Series
	Bands  []Band
}

// Series is one line, broken where a point is missing. Its CSS class gives the colour.
type Series struct {
	Name, Class string
	Points      []Point
}

// Point is a value, and the range that it was found in if High is over Low.
type Point struct {
	X, Y      float64
	Low, High float64
	Missing   bool
}

// Band is an invisible strip that shows text under the pointer, marked if something failed in it.
type Band struct {
	From, To float64
	Text     string
	Failed   bool
}

// SVG is the plot for a page whose style knows the classes. Each line's name is written where it ends.
func (c Chart) SVG() template.HTML {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %.0f %.0f" role="img" aria-label="%s">`, width, height, html.EscapeString(c.Title))
	c.draw(&b)
	c.labels(&b)
	c.bands(&b)
	b.WriteString("</svg>")
	return template.HTML(b.String()) // numbers and escaped text only
}

// draw writes the grid, the marks of failures and the lines.
func (c Chart) draw(b *strings.Builder) {
	for _, t := range c.Y.ticks {
		y := c.Y.down(t.at)
		fmt.Fprintf(b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1[3]f"/>`, left, width-right, y)
		fmt.Fprintf(b, `<text class="tick end" x="%.1f" y="%.1f">%s</text>`, left-8, y+4, html.EscapeString(t.label))
	}
	for _, t := range c.X.ticks {
		fmt.Fprintf(b, `<line class="grid" x1="%.1f" x2="%.1[1]f" y1="%.1f" y2="%.1f"/>`,
			c.X.across(t.at), above, height-beneath)
		fmt.Fprintf(b, `<text class="tick mid" x="%.1f" y="%.1f">%s</text>`,
			c.X.across(t.at), height-12, html.EscapeString(t.label))
	}
	for _, s := range c.Bands {
		if s.Failed {
			fmt.Fprintf(b, `<rect class="failed" x="%.1f" y="%.1f" width="%.1f" height="5"/>`,
				c.X.across(s.From), height-beneath, max(c.X.across(s.To)-c.X.across(s.From), 2))
		}
	}
	for _, s := range c.Series {
		c.line(b, s)
	}
}

func (c Chart) line(b *strings.Builder, s Series) {
	fmt.Fprintf(b, `<path class="line %s" d="`, s.Class)
	move := true
	for _, p := range s.Points {
		if p.Missing {
			move = true
			continue
		}
		command := "L"
		if move {
			command = "M"
		}
		fmt.Fprintf(b, "%s%.1f %.1f", command, c.X.across(p.X), c.Y.down(p.Y))
		move = false
	}
	b.WriteString(`"/>`)
	if len(s.Points) > fewPoints {
		return
	}
	for _, p := range s.Points {
		if p.Missing {
			continue
		}
		x := c.X.across(p.X)
		if p.High > p.Low {
			fmt.Fprintf(b, `<path class="line range %s" d="M%.1f %.1fV%.1f"/>`, s.Class, x, c.Y.down(p.Low), c.Y.down(p.High))
		}
		fmt.Fprintf(b, `<circle class="dot %s" cx="%.1f" cy="%.1f" r="3"/>`, s.Class, x, c.Y.down(p.Y))
	}
}

// labels writes each series' name beside its last point, pushed apart where lines end close together. A single line
// needs none.
func (c Chart) labels(b *strings.Builder) {
	if len(c.Series) < 2 {
		return
	}
	const apart = 14.0
	type label struct {
		class, name string
		x, y        float64
	}
	var all []label
	for _, s := range c.Series {
		for _, p := range slices.Backward(s.Points) {
			if !p.Missing {
				all = append(all, label{s.Class, s.Name, c.X.across(p.X) + 8, c.Y.down(p.Y) + 4})
				break
			}
		}
	}
	slices.SortStableFunc(all, func(a, b label) int { return cmp.Compare(a.y, b.y) })
	last := math.Inf(-1)
	for _, l := range all {
		last = max(l.y, last+apart)
		fmt.Fprintf(b, `<text class="name %s" x="%.1f" y="%.1f">%s</text>`, l.class, l.x, last, html.EscapeString(l.name))
	}
}

func (c Chart) bands(b *strings.Builder) {
	for _, s := range c.Bands {
		fmt.Fprintf(b, `<rect class="band" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s</title></rect>`,
			c.X.across(s.From), above, c.X.across(s.To)-c.X.across(s.From), plotHeight, html.EscapeString(s.Text))
	}
}
