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
	only        string
	revocations int
	rate        float64
	rounds      int
	phase       time.Duration
	sourceRate  int
	out         string
}

const manual = `usage: fleet [OPTIONS]

Four proxies over one PostgreSQL and one Redis, all on this machine. Groups, of which -only chooses one:

  revocations  the time from a change to the last proxy that refuses the key, for each way in
  bounds       the last old answer after a change of which some proxy cannot hear, with short times to live
  floods       what customers notice of a quarter of the machine's capacity in unknown keys
`

// readOptions reads the command line, and ends the program if it is wrong.
func readOptions() options {
	var o options
	flag.StringVar(&o.only, "only", "", "measure this `group` alone")
	flag.IntVar(&o.revocations, "revocations", 10_000, "revoke `N` keys, a quarter in each way")
	flag.Float64Var(&o.rate, "rate", 400, "let customers send `R` requests a second meanwhile")
	flag.IntVar(&o.rounds, "rounds", 7, "repeat each flood and its control `N` times, after one round that does not count")
	flag.DurationVar(&o.phase, "phase", 3*time.Second, "flood for `D` each time")
	flag.IntVar(&o.sourceRate, "source-rate", 1000, "start the proxies that are flooded with this --source-rate")
	flag.StringVar(&o.out, "out", "tests/load/results", "save the results in `DIR`")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), manual, "\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	return o
}

// group is one kind of measurement. Each saves what it has found by itself.
type group struct {
	name    string
	measure func(ctx context.Context, b *bench, o options) (*result, error)
}

var groups = []group{
	{"revocations", measureRevocations},
	{"bounds", measureBounds},
	{"floods", measureFloods},
}

// measure measures group after group.
func measure(ctx context.Context, o options) (err error) {
	b, err := open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	chosen := 0
	for _, g := range groups {
		if o.only != "" && o.only != g.name {
			continue
		}
		chosen++
		found, err := g.measure(ctx, b, o)
		if err != nil {
			return fmt.Errorf("measuring %s: %w", g.name, err)
		}
		if err := found.save(o.out); err != nil {
			return err
		}
	}
	if chosen == 0 {
		return errors.New("nothing to measure: -only takes revocations, bounds or floods")
	}
	return nil
}
