package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// quartiles are the lower quartile, the median and the upper quartile.
type quartiles struct{ low, median, high float64 }

// quartilesOf interpolates between the neighbours, as spreadsheets do. It returns zeros for no values.
func quartilesOf(values []float64) quartiles {
	if len(values) == 0 {
		return quartiles{}
	}
	sorted := slices.Sorted(slices.Values(values))
	at := func(share float64) float64 {
		position := share * float64(len(sorted)-1)
		below := int(position)
		above := min(below+1, len(sorted)-1)
		return sorted[below] + (position-float64(below))*(sorted[above]-sorted[below])
	}
	return quartiles{at(.25), at(.5), at(.75)}
}

func (m measured) quartiles(of func(figures) float64) quartiles {
	var values []float64
	for _, f := range m.Rounds {
		values = append(values, of(f))
	}
	return quartilesOf(values)
}

func perSecond(f figures) float64 { return f.PerSecond }

// generator is what the load itself costs, which is no subject's.
const generator = "loadtest"

func ownCPU(f figures) float64 {
	var sum float64
	for name, micros := range f.CPU {
		if name != generator {
			sum += micros
		}
	}
	return sum
}

// table compares the subjects of a group, keygate first, in Markdown.
func (g measuredGroup) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n", g.Title)
	b.WriteString("| | events/s: median (quartiles) | keygate is: of medians (quartiles of rounds) | p50 / p99 ms | " +
		"success | CPU µs an event | of which |\n")
	b.WriteString("|---|---|---|---|---|---|---|\n")
	if len(g.Subjects) == 0 {
		return b.String()
	}
	own := g.Subjects[0]
	for _, m := range g.Subjects {
		rate := m.quartiles(perSecond)
		p50 := m.quartiles(func(f figures) float64 { return f.P50 }).median
		p99 := m.quartiles(func(f figures) float64 { return f.P99 }).median
		success := m.quartiles(func(f figures) float64 { return f.Success }).median
		fmt.Fprintf(&b, "| %s | %.0f (%.0f–%.0f) | %s | %.1f / %.1f | %.2f %% | %.1f | %s |\n",
			m.Name, rate.median, rate.low, rate.high, own.against(m), p50, p99, 100*success,
			m.quartiles(ownCPU).median, m.shares())
	}
	return b.String()
}

// against is the ratio of the medians, and the quartiles of the ratios of one round each: what else the machine did in a
// round, it did to both.
func (m measured) against(other measured) string {
	var ratios []float64
	for i := range min(len(m.Rounds), len(other.Rounds)) {
		ratios = append(ratios, m.Rounds[i].PerSecond/other.Rounds[i].PerSecond)
	}
	spread := quartilesOf(ratios)
	medians := m.quartiles(perSecond).median / other.quartiles(perSecond).median
	return fmt.Sprintf("%.2f × (%.2f–%.2f)", medians, spread.low, spread.high)
}

// shares lists the CPU time of each process.
func (m measured) shares() string {
	if len(m.Rounds) == 0 {
		return ""
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m.Rounds[0].CPU)) {
		median := m.quartiles(func(f figures) float64 { return f.CPU[name] }).median
		parts = append(parts, fmt.Sprintf("%s %.1f", name, median))
	}
	return strings.Join(parts, ", ")
}

// markdown is the page that is saved.
func (r *result) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# keygate beside its rivals, %s\n\n", r.StartedAt.Format("2006-01-02 15:04 UTC"))
	fmt.Fprintf(&b, "Commit %s on %s. Medians of %d rounds of %g s in turn, %d connections; the load generator runs on the\n"+
		"same machine, and its CPU time is no part of the sum.\n\n", r.Commit, r.Machine, r.Rounds, r.DurationS, r.Concurrency)
	versions := slices.Clone(r.Versions)
	for _, g := range r.Groups {
		b.WriteString(g.table() + "\n")
		for _, m := range g.Subjects {
			versions = append(versions, m.Version)
		}
	}
	slices.Sort(versions)
	fmt.Fprintf(&b, "Versions: %s.\n", strings.Join(slices.Compact(versions), "; "))
	for _, missing := range r.Missing {
		fmt.Fprintf(&b, "\nNot measured: %s.\n", missing)
	}
	return b.String()
}
