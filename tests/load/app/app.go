// Package app is one run from its options to its verdict.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"keygate/tests/load/config"
	"keygate/tests/load/counters"
	"keygate/tests/load/hist"
	"keygate/tests/load/report"
	"keygate/tests/load/run"
	"keygate/tests/load/traffic"
)

// ErrThreshold means that there was a run, and that it was not good enough or was interrupted.
var ErrThreshold = errors.New("a threshold does not hold")

// Streams are where a run shows itself: the figures on Out, everything in passing on Err.
type Streams struct {
	Out, Err io.Writer
	Terminal bool // Err is one
}

// Run loads the target as the options say. Its error is ErrThreshold, or why there is no result.
func Run(ctx context.Context, o config.Options, s Streams) error {
	plan, measured, err := prepare(ctx, o, s)
	if err != nil {
		return err
	}
	runner, err := run.Open(ctx, plan)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", o.Target, err)
	}
	defer runner.Close()
	if o.Load.Warmup > 0 {
		phase(ctx, runner, run.Limit{Duration: o.Load.Warmup, Rate: o.Load.Rate}, "warm-up", s)
	}
	before := counters.Read(ctx, o.Admin.Proxy, o.Admin.Writer)
	measured.Started = time.Now()
	limit := run.Limit{Requests: o.Load.Requests, Duration: o.Load.Duration, Rate: o.Load.Rate}
	measured.Run = phase(ctx, runner, limit, "load", s)
	// An interrupted run is reported all the same, so the last reading may not be cut short with it.
	after := counters.Read(context.WithoutCancel(ctx), o.Admin.Proxy, o.Admin.Writer)
	measured.Usage = counters.Between(before, after)
	return publish(report.New(measured), o.Output, s)
}

// prepare reads and checks everything that can be wrong before the first connection.
func prepare(ctx context.Context, o config.Options, s Streams) (plan run.Plan, about report.Measured, err error) {
	target, err := o.Endpoint()
	if err != nil {
		return plan, about, err
	}
	keys, origin, err := o.Traffic.ReadKeys()
	if err != nil {
		return plan, about, err
	}
	if err := o.CheckHosts(ctx); err != nil {
		return plan, about, err
	}
	if origin == config.DemoKeyFile {
		fmt.Fprintf(s.Err, "using the key in %s\n", origin)
	}
	plan = run.Plan{
		Addresses: []string{config.Address(target)},
		Shape: traffic.Shape{
			Host: target.Host, Path: target.RequestURI(), Bearer: o.Traffic.Bearer, Batch: o.Traffic.Batch,
			PayloadBytes: o.Traffic.PayloadBytes,
		},
		Keys: traffic.NewKeys(keys, o.Traffic.Zipf), Repeat: o.Traffic.Duplicates,
		Connections: o.Load.Concurrency, Timeout: o.Load.Timeout,
	}
	return plan, report.Measured{Options: o, Endpoint: target.String(), Keys: len(keys)}, nil
}

// phase applies load and shows its progress meanwhile.
func phase(ctx context.Context, runner *run.Runner, limit run.Limit, label string, s Streams) *run.Result {
	timeline := hist.NewTimeline()
	progress := report.Progress{
		Out: s.Err, Terminal: s.Terminal, Label: label, Counts: runner.Counts, Timeline: timeline,
		Total: limit.Requests, Duration: limit.Duration,
	}
	shown, stop := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	group.Go(func() { progress.Show(shown) })
	result := runner.Phase(ctx, limit, timeline)
	stop()
	group.Wait()
	return result
}

// publish shows the result, writes the files asked for, and gives the verdict.
func publish(result *report.Result, files config.Output, s Streams) error {
	err := result.WriteText(s.Out)
	if files.JSON != "" {
		err = errors.Join(err, result.WriteJSON(files.JSON))
	}
	if files.Report != "" {
		err = errors.Join(err, result.WriteHTML(files.Report))
	}
	if err == nil && !result.Passed {
		err = ErrThreshold
	}
	return err
}

// IsTerminal tells whether a file is one a person looks at.
func IsTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
