package report

import (
	"context"
	"fmt"
	"io"
	"time"

	"keygate/tests/load/chart"
	"keygate/tests/load/hist"
)

// Progress shows a run while it lasts: one line that is rewritten on a terminal, a line a second elsewhere.
type Progress struct {
	Out      io.Writer
	Terminal bool
	Label    string
	Counts   func() (ok, failed int64)
	Timeline *hist.Timeline
	Total    int64         // requests to come; 0 if the duration decides
	Duration time.Duration // of the whole run; 0 if the requests decide
}

// Show runs until ctx ends.
func (p *Progress) Show(ctx context.Context) {
	every := time.Second
	if p.Terminal {
		every = 200 * time.Millisecond
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	start, last, before := time.Now(), time.Duration(0), int64(0)
	for {
		select {
		case <-ctx.Done():
			p.clear()
			return
		case <-ticker.C:
		}
		elapsed := time.Since(start)
		ok, failed := p.Counts()
		rate := float64(ok+failed-before) / (elapsed - last).Seconds()
		p.line(elapsed, ok, failed, rate)
		last, before = elapsed, ok+failed
	}
}

func (p *Progress) line(elapsed time.Duration, ok, failed int64, rate float64) {
	recent := p.Timeline.Since(max(elapsed-time.Second, 0))
	text := fmt.Sprintf("%-8s %5.1f s  %s  %s requests/s  p50 %s ms  p99 %s ms  failed %s", p.Label, elapsed.Seconds(),
		p.share(elapsed, ok+failed), chart.Thousands(rate), short(milliseconds(recent.Latency.Quantile(0.5))),
		short(milliseconds(recent.Latency.Quantile(0.99))), chart.Thousands(float64(failed)))
	if p.Terminal {
		fmt.Fprintf(p.Out, "\r%s\x1b[K", text)
		return
	}
	fmt.Fprintln(p.Out, text)
}

// share is how far the run has come.
func (p *Progress) share(elapsed time.Duration, done int64) string {
	part := 0.0
	if p.Total > 0 {
		part = float64(done) / float64(p.Total)
	} else if p.Duration > 0 {
		part = elapsed.Seconds() / p.Duration.Seconds()
	}
	return fmt.Sprintf("%3.0f %%", 100*min(part, 1))
}

func (p *Progress) clear() {
	if p.Terminal {
		fmt.Fprint(p.Out, "\r\x1b[K")
	}
}
