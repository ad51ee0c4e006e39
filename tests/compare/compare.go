package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"
)

// options are what can be set.
type options struct {
	rounds      int
	duration    time.Duration
	concurrency int
	batch       int
	only        string
	bin         string
	out         string
}

const manual = `usage: compare [OPTIONS]

Every program is started once and loaded in turn, round by round, so that whatever else the machine does meets all of
them alike. What is missing on this machine is named, and the rest is measured. Groups:

  stack  proxy and writer over PostgreSQL and Redis; both in one process; a FastAPI service, with its key cache and without
  hop    the proxy, nginx and HAProxy in front of a stub that always answers 201; the stub alone
  batch  the batch endpoint; a loop over the same statement, without HTTP
`

// readOptions reads the command line, and ends the program if it is wrong.
func readOptions() options {
	var o options
	flag.IntVar(&o.rounds, "rounds", 7, "load each program `N` times, after one round that does not count")
	flag.DurationVar(&o.duration, "duration", 5*time.Second, "load it for `D` each time")
	flag.IntVar(&o.concurrency, "concurrency", 200, "use `N` connections")
	flag.IntVar(&o.batch, "batch", 500, "send `N` events in each request of the group batch")
	flag.StringVar(&o.only, "only", "", "measure this `group` alone")
	flag.StringVar(&o.bin, "bin", "bin", "take keygate's programs from `DIR`")
	flag.StringVar(&o.out, "out", "tests/load/results", "save the results in `DIR`")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), manual, "\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	return o
}

// compare measures group after group. What was measured is printed and saved even if a later group fails.
func compare(ctx context.Context, o options) (err error) {
	var chosen []group
	for _, g := range groups {
		if o.only == "" || o.only == g.name {
			chosen = append(chosen, g)
		}
	}
	if len(chosen) == 0 || o.rounds < 1 {
		return errors.New("nothing to measure: -only takes stack, hop or batch, and -rounds at least 1")
	}
	b, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	result := newResult(ctx, b)
	for _, g := range chosen {
		if err := result.measure(ctx, b, g); err != nil {
			return errors.Join(fmt.Errorf("measuring the group %s: %w", g.name, err), result.save(o.out))
		}
	}
	return result.save(o.out)
}
