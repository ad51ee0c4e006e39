package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// figures are what one round of one subject gave.
type figures struct {
	Events    int                `json:"events"`
	PerSecond float64            `json:"events_per_s"`
	P50       float64            `json:"p50_ms,omitempty"`
	P99       float64            `json:"p99_ms,omitempty"`
	Success   float64            `json:"success_rate"`
	CPU       map[string]float64 `json:"cpu_us_per_event"` // by process; the load generator's is "loadtest"
}

// loadtest returns a load of the load generator, with further arguments, which may replace the ones that all share.
func (b *bench) loadtest(target string, arguments ...string) func(context.Context) (figures, error) {
	out := filepath.Join(b.Dir, "round.json")
	all := append([]string{"--target", target, "--keys", b.keysFile, "--json", out, "--duration", b.duration.String(),
		"--concurrency", strconv.Itoa(b.concurrency), "--min-success", "0"}, arguments...)
	return func(ctx context.Context) (figures, error) {
		cmd := exec.CommandContext(ctx, b.Path("loadtest"), all...)
		if said, err := cmd.CombinedOutput(); err != nil {
			return figures{}, fmt.Errorf("loadtest: %w: %s", err, strings.TrimSpace(string(said)))
		}
		return readFigures(out)
	}
}

func readFigures(path string) (figures, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return figures{}, err
	}
	var result struct {
		Figures struct {
			Answered    int `json:"answered"`
			Events      int
			EventsPerS  float64 `json:"events_per_s"`
			SuccessRate float64 `json:"success_rate"`
			LatencyMS   struct {
				P50 float64
				P99 float64
			} `json:"latency_ms"`
			Generator struct {
				CPUMicros float64 `json:"cpu_us_per_request"`
			}
		}
	}
	if err := json.Unmarshal(text, &result); err != nil {
		return figures{}, fmt.Errorf("reading what loadtest wrote: %w", err)
	}
	f := result.Figures
	if f.Events == 0 || f.Answered == 0 {
		return figures{}, errors.New("no event was answered")
	}
	return figures{
		Events: f.Events, PerSecond: f.EventsPerS, P50: f.LatencyMS.P50, P99: f.LatencyMS.P99, Success: f.SuccessRate,
		CPU: map[string]float64{"loadtest": f.Generator.CPUMicros * float64(f.Answered) / float64(f.Events)},
	}, nil
}

// round loads a subject once, and charges the CPU time of its processes to the events.
func (s subject) round(ctx context.Context) (figures, error) {
	before, err := s.cpu()
	if err != nil {
		return figures{}, err
	}
	f, err := s.load(ctx)
	if err != nil {
		return f, fmt.Errorf("%s: %w", s.name, err)
	}
	after, err := s.cpu()
	if err != nil {
		return f, fmt.Errorf("%s: %w", s.name, err)
	}
	if f.CPU == nil {
		f.CPU = map[string]float64{}
	}
	for i, p := range s.parts {
		f.CPU[p.Name] = float64(after[i]-before[i]) / float64(time.Microsecond) / float64(f.Events)
	}
	return f, nil
}

func (s subject) cpu() ([]time.Duration, error) {
	used := make([]time.Duration, len(s.parts))
	for i, p := range s.parts {
		var err error
		if used[i], err = p.CPU(); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return used, nil
}
