package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// options are what can be set.
type options struct {
	only     string
	rounds   int
	duration time.Duration
	longest  time.Duration
	redraw   bool
	bin      string
	out      string
}

const manual = `usage: curves [OPTIONS]

Each curve loads keygate at one size after another, round by round, and saves what it found as JSON, as a picture and in
the table of all curves. Load generator, programs and database share the machine. All of it takes about ten minutes.

`

// curve is one question.
type curve struct {
	name, title string
	conditions  string // what was fixed
	x           scale
	panels      []panel
	measure     func(ctx context.Context, f *field, r *recorder) error
}

// scale is the horizontal axis.
type scale struct {
	Name        string `json:"name"`
	Unit        string `json:"unit,omitempty"` // "bytes" is shown in KiB and MiB
	Logarithmic bool   `json:"logarithmic"`
}

var curves = []curve{connections, payload, keys, proxies, writers, cores, idle}

func names() []string {
	var all []string
	for _, c := range curves {
		all = append(all, c.name)
	}
	return all
}

// readOptions reads the command line, and ends the program if it is wrong.
func readOptions() options {
	var o options
	flag.StringVar(&o.only, "only", "", "measure this `curve` alone: "+strings.Join(names(), ", "))
	flag.IntVar(&o.rounds, "rounds", 3, "load each point `N` times")
	flag.DurationVar(&o.duration, "duration", 1500*time.Millisecond,
		"load it for `D` each time, after a quarter of that uncounted")
	flag.DurationVar(&o.longest, "longest", 3*time.Minute, "end each curve after `D`; what it has by then is saved")
	flag.BoolVar(&o.redraw, "redraw", false, "measure nothing, and draw what is saved")
	flag.StringVar(&o.bin, "bin", "bin", "take proxy and writer from `DIR`")
	flag.StringVar(&o.out, "out", "docs/curves", "save the curves in `DIR`")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), manual)
		flag.PrintDefaults()
	}
	flag.Parse()
	return o
}

// draw measures curve after curve, each on servers of its own, and saves each as soon as it is there.
func draw(ctx context.Context, o options) error {
	if o.rounds < 1 || o.duration <= 0 || o.only != "" && !slices.Contains(names(), o.only) {
		return errors.New("-only takes one of " + strings.Join(names(), ", ") + ", and -rounds and -duration more than 0")
	}
	if _, err := openFiles(); err != nil {
		return err
	}
	for _, c := range curves {
		if o.redraw || o.only != "" && o.only != c.name {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, o.longest)
		err := drawOne(limited, o, c)
		cancel()
		if err != nil {
			return fmt.Errorf("measuring the curve %s: %w", c.name, err)
		}
	}
	return drawSaved(o.out)
}

func drawOne(ctx context.Context, o options, c curve) (err error) {
	began := time.Now()
	f, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r := newRecorder(ctx, f, c)
	err = c.measure(ctx, f, r)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && len(r.result.Series) > 0 {
		r.result.Conditions += fmt.Sprintf("; ended after %v, before it was through", o.longest)
		err = nil
	}
	if err != nil {
		return err
	}
	r.result.TookS = time.Since(began).Round(time.Second).Seconds()
	fmt.Fprintf(os.Stderr, "%s: done in %g s\n", c.name, r.result.TookS)
	return r.result.save(o.out)
}
