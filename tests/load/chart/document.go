package chart

import (
	"fmt"
	"html"
	"strings"
)

// Classes are the colours that a document has, in the order in which series take them.
var Classes = []string{"first", "second", "third"}

// The style of a document: by itself in both colour schemes, on a ground of its own, because it does not know the page's,
// and without variables, which not every viewer knows.
const documentStyle = `<style>
text { font: 12px system-ui, sans-serif; } .title { font-size: 16px; } .title, .name { font-weight: 600; }
.end { text-anchor: end; } .mid { text-anchor: middle; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; } .range { stroke-width: 1; }
.paper { fill: #fff; } .title, .axis { fill: #17191c; } .tick { fill: #62686f; } .grid { stroke: #e2e5e9; }
.line.first { stroke: #2563c9; } .line.second { stroke: #c2500b; } .line.third { stroke: #1f7a3d; }
.dot.first, .name.first { fill: #2563c9; } .dot.second, .name.second { fill: #c2500b; }
.dot.third, .name.third { fill: #1f7a3d; }
@media (prefers-color-scheme: dark) {
  .paper { fill: #121417; } .title, .axis { fill: #e9ebee; } .tick { fill: #9aa1a9; } .grid { stroke: #2b3036; }
  .line.first { stroke: #7daaf7; } .line.second { stroke: #f59e5f; } .line.third { stroke: #6fcf8e; }
  .dot.first, .name.first { fill: #7daaf7; } .dot.second, .name.second { fill: #f59e5f; }
  .dot.third, .name.third { fill: #6fcf8e; }
}
</style>`

const (
	header = 56.0 // the title, and the names of the series, which all panels share
	naming = 20.0 // the name of an axis
)

// Document is a picture of its own: panels under one another, with the names of their axes.
func Document(title string, panels ...Chart) []byte {
	var b strings.Builder
	panel := naming + height + naming
	total := header + float64(len(panels))*panel
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%[1]g" height="%[2]g" role="img" `+
		"aria-label=\"%s\">\n%s\n", width, total, html.EscapeString(title), documentStyle)
	fmt.Fprintf(&b, `<rect class="paper" width="%g" height="%g"/>`, width, total)
	fmt.Fprintf(&b, "\n"+`<text class="title" x="%g" y="26">%s</text>`, left, html.EscapeString(title))
	if len(panels) > 0 {
		panels[0].legend(&b)
	}
	for i, c := range panels {
		fmt.Fprintf(&b, "\n"+`<g transform="translate(0 %g)">`, header+float64(i)*panel+naming)
		fmt.Fprintf(&b, `<text class="axis" x="%g" y="0">%s</text>`, left, html.EscapeString(c.Y.Name))
		c.draw(&b)
		fmt.Fprintf(&b, `<text class="axis mid" x="%g" y="%g">%s</text></g>`,
			left+plotWidth/2, height+naming/2-2, html.EscapeString(c.X.Name))
	}
	b.WriteString("\n</svg>\n")
	return []byte(b.String())
}

// legend writes the names of the series in a row.
func (c Chart) legend(b *strings.Builder) {
	const perLetter, gap = 6.8, 34.0 // of the bold font, wide enough for any
	x := left
	for _, s := range c.Series {
		fmt.Fprintf(b, `<path class="line %s" d="M%.1f 44h18"/><text class="name %s" x="%.1f" y="48">%s</text>`,
			s.Class, x, s.Class, x+24, html.EscapeString(s.Name))
		x += 24 + perLetter*float64(len([]rune(s.Name))) + gap
	}
}
