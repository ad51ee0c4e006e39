package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"keygate/tests/load/chart"
	"keygate/tests/programs"
)

// save writes the figures as JSON.
func (r *result) save(dir string) error {
	return programs.Save(filepath.Join(dir, r.Name), r, nil)
}

// drawSaved writes the pictures of all curves that are saved, this time or earlier, and one page of their tables.
func drawSaved(dir string) error {
	var b strings.Builder
	b.WriteString("# Scaling curves: the figures\n\nWritten by `make curves`, as are the pictures beside it and the " +
		"JSON files, which hold every round.\nEach figure is the median of the rounds, with the smallest and the largest; " +
		"CPU is of all processes of a kind, a request.\n")
	for _, c := range curves {
		text, err := os.ReadFile(filepath.Join(dir, c.name+".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		var r result
		if err := json.Unmarshal(text, &r); err != nil {
			return fmt.Errorf("reading %s: %w", c.name, err)
		}
		r.section(&b, c)
		if err := os.WriteFile(filepath.Join(dir, c.name+".svg"), r.picture(c.panels), 0o644); err != nil {
			return err
		}
	}
	path := filepath.Join(dir, "README.md")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		return err
	}
	fmt.Printf("Saved in %s.\n", dir)
	return nil
}

func (r *result) section(b *strings.Builder, c curve) {
	fmt.Fprintf(b, "\n## %s\n\n![%[1]s](%s.svg)\n\nFixed: %s. Commit %s on %s, %s; %d rounds of %g s, %s.\n\n",
		r.Title, c.name, r.Conditions, r.Commit, r.Machine, r.StartedAt.Format("2006-01-02 15:04 UTC"), r.Rounds, r.DurationS,
		strings.Join(r.Versions, ", "))
	if slices.ContainsFunc(c.panels, func(p panel) bool { return p.name == memory.name }) {
		r.memoryTable(b)
		return
	}
	fmt.Fprintf(b, "| %s | | requests/s | p50 / p99 ms | success | CPU µs a request |\n|---:|---|---|---|---|---|\n", r.X.Name)
	for _, s := range r.Series {
		for _, p := range s.Points {
			low, rate, high := p.middle(throughput.of)
			_, p50, _ := p.middle(func(s sample) float64 { return s.P50 })
			_, p99, _ := p.middle(tail.of)
			worst, _, _ := p.middle(func(s sample) float64 { return s.Success })
			fmt.Fprintf(b, "| %s | %s | %s (%s–%s) | %.2f / %.2f | %s | %s |\n", r.X.label(p.X), s.Name, chart.Thousands(rate),
				chart.Thousands(low), chart.Thousands(high), p50, p99, share(worst), p.shares())
		}
	}
}

func (r *result) memoryTable(b *strings.Builder) {
	fmt.Fprintf(b, "| %s | | MiB | KiB a connection |\n|---:|---|---:|---:|\n", r.X.Name)
	for _, s := range r.Series {
		_, base, _ := s.Points[0].middle(memory.of)
		for _, p := range s.Points {
			_, now, _ := p.middle(memory.of)
			each := "–"
			if p.X > 0 {
				each = fmt.Sprintf("%.1f", (now-base)*1024/p.X)
			}
			fmt.Fprintf(b, "| %s | %s | %.1f | %s |\n", r.X.label(p.X), s.Name, now, each)
		}
	}
}

// shares lists the CPU time of each program, and the memory of the proxy if it was looked at.
func (p point) shares() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(p.Rounds[0].CPU)) {
		_, median, _ := p.middle(func(s sample) float64 { return s.CPU[name] })
		parts = append(parts, fmt.Sprintf("%s %.1f", name, median))
	}
	if rss := p.Rounds[0].RSS; rss > 0 {
		parts = append(parts, fmt.Sprintf("the proxy has %.0f MiB", rss))
	}
	return strings.Join(parts, ", ")
}

// share never rounds a failure away.
func share(v float64) string {
	text := fmt.Sprintf("%.2f %%", 100*v)
	if v < 1 && text == "100.00 %" {
		return "over 99.99 %"
	}
	return text
}
