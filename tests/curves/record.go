package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"keygate/shared/build"
	"keygate/tests/programs"
)

// result is the file that is saved: every figure of every round, and where and of what they were taken.
type result struct {
	Name       string    `json:"name"`
	Title      string    `json:"title"`
	Conditions string    `json:"conditions"`
	StartedAt  time.Time `json:"started_at"`
	TookS      float64   `json:"took_s"`
	Commit     string    `json:"commit"`
	Machine    string    `json:"machine"`
	Versions   []string  `json:"versions"`
	Rounds     int       `json:"rounds"`
	DurationS  float64   `json:"duration_s"`
	X          scale     `json:"x"`
	Series     []series  `json:"series"`
}

// series is one line of the curve.
type series struct {
	Name   string  `json:"name"`
	Points []point `json:"points"`
}

type point struct {
	X      float64  `json:"x"`
	Rounds []sample `json:"rounds"`
}

// sample is what one round at one point gave. What does not apply to a curve is absent.
type sample struct {
	PerSecond float64            `json:"requests_per_s,omitempty"`
	P50       float64            `json:"p50_ms,omitempty"`
	P99       float64            `json:"p99_ms,omitempty"`
	Success   float64            `json:"success_rate,omitempty"`
	CPU       map[string]float64 `json:"cpu_us_per_request,omitempty"` // by program; the load generator's is "load"
	RSS       float64            `json:"proxy_rss_mib,omitempty"`
	Failures  map[string]int64   `json:"failures,omitempty"` // by status and code
}

// recorder gathers the samples of one curve.
type recorder struct{ result *result }

func newRecorder(ctx context.Context, f *field, c curve) *recorder {
	return &recorder{&result{
		Name: c.name, Title: c.title, Conditions: c.conditions, X: c.x,
		StartedAt: time.Now().UTC().Truncate(time.Second), Commit: cmp.Or(build.Info().Commit, build.Info().Version),
		Machine: programs.Machine(), Versions: f.Versions(ctx), Rounds: f.rounds, DurationS: f.duration.Seconds(),
	}}
}

func (r *recorder) add(name string, x float64, s sample) {
	fmt.Fprintf(os.Stderr, "%s: %s at %g: %.0f/s, p99 %.2f ms, success %.4f, proxy %.1f MiB %v\n",
		r.result.Name, name, x, s.PerSecond, s.P99, s.Success, s.RSS, s.Failures)
	at := slices.IndexFunc(r.result.Series, func(known series) bool { return known.Name == name })
	if at < 0 {
		at = len(r.result.Series)
		r.result.Series = append(r.result.Series, series{Name: name})
	}
	line := &r.result.Series[at]
	for i := range line.Points {
		if line.Points[i].X == x {
			line.Points[i].Rounds = append(line.Points[i].Rounds, s)
			return
		}
	}
	line.Points = append(line.Points, point{X: x, Rounds: []sample{s}})
}

// step is one point of one line.
type step struct {
	series string
	x      float64
	take   func(context.Context) (sample, error)
}

// alternate takes all steps round by round, so that what else the machine does meets all sizes alike.
func (r *recorder) alternate(ctx context.Context, rounds int, steps []step) error {
	for range rounds {
		for _, s := range steps {
			got, err := s.take(ctx)
			if err != nil {
				return fmt.Errorf("%s at %g: %w", s.series, s.x, err)
			}
			r.add(s.series, s.x, got)
		}
	}
	return nil
}
