package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"keygate/tests/load/hist"
	"keygate/tests/programs"
)

// result is what one group has found: the figures, and where and of what they were taken.
type result struct {
	Group     string    `json:"group"`
	StartedAt time.Time `json:"started_at"`
	Machine   string    `json:"machine"`
	Load      [2]string `json:"load_average"` // of one minute, at the start and at the end
	Versions  []string  `json:"versions"`     // the proxy's first
	Figures   any       `json:"figures"`

	text string            // in Markdown
	also map[string]string // further files by what their names end in
}

// newResult begins one.
func newResult(ctx context.Context, b *bench, name string) (*result, error) {
	version, err := b.command(ctx, nil, "--version")
	if err != nil {
		return nil, err
	}
	return &result{
		Group: name, StartedAt: time.Now().UTC().Truncate(time.Second),
		Machine: programs.Machine(), Load: [2]string{loadAverage()},
		Versions: append([]string{version}, b.Versions(ctx)...),
	}, nil
}

// finish sets what was found.
func (r *result) finish(figures any, text string) *result {
	r.Figures, r.Load[1] = figures, loadAverage()
	r.text = fmt.Sprintf("# %s of %d proxies, %s\n\n%s\n%s. Load average %s before and %s after.\n%s.\n", r.Group, fleetSize,
		r.StartedAt.Format("2006-01-02 15:04 UTC"), text, r.Machine, r.Load[0], r.Load[1], strings.Join(r.Versions, "; "))
	return r
}

// save writes the figures as JSON and the text as Markdown beside it, and prints the latter.
func (r *result) save(dir string) error {
	path := filepath.Join(dir, r.StartedAt.Format("2006-01-02T150405Z")+"-"+r.Group)
	texts := map[string]string{".md": r.text}
	maps.Copy(texts, r.also)
	if err := programs.Save(path, r, texts); err != nil {
		return err
	}
	fmt.Printf("%s\nSaved as %s.json and .md.\n\n", r.text, path)
	return nil
}

// quantiles are times in milliseconds.
type quantiles struct {
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	Max  float64 `json:"max"`
}

func quantilesOf(h *hist.Hist) quantiles {
	return quantiles{ms(h.Quantile(.5)), ms(h.Quantile(.99)), ms(h.Quantile(.999)), ms(h.Max)}
}

func (q quantiles) String() string {
	return fmt.Sprintf("%.1f / %.1f / %.1f / %.1f", q.P50, q.P99, q.P999, q.Max)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// loadAverage is that of the last minute.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}
