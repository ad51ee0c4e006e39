package main

import (
	"context"
	"fmt"

	"keygate/tests/programs"
)

var proxies = curve{
	name: "proxies", title: "Throughput and p99 against proxies in front of one writer",
	conditions: "200 connections spread evenly, one writer, all on the same cores",
	x:          scale{Name: "proxies"}, panels: []panel{throughput, tail},
	measure: func(ctx context.Context, f *field, r *recorder) error {
		return f.stacks(ctx, r, func(ctx context.Context, n int) (target, error) {
			return f.stack(ctx, n, 1, programs.Launcher{})
		})
	},
}

var writers = curve{
	name: "writers", title: "Throughput and p99 against writers on one PostgreSQL",
	conditions: "200 connections, one proxy that balances, all on the same cores",
	x:          scale{Name: "writers"}, panels: []panel{throughput, tail},
	measure: func(ctx context.Context, f *field, r *recorder) error {
		return f.stacks(ctx, r, func(ctx context.Context, n int) (target, error) {
			return f.stack(ctx, 1, n, programs.Launcher{})
		})
	},
}

// stacks loads stacks of one to four of something. All of them run throughout; those not loaded are idle.
func (f *field) stacks(ctx context.Context, r *recorder, open func(context.Context, int) (target, error)) error {
	var steps []step
	for n := 1; n <= 4; n++ {
		t, err := open(ctx, n)
		if err != nil {
			return err
		}
		steps = append(steps, step{seriesStack, float64(n), func(ctx context.Context) (sample, error) {
			return f.load(ctx, t, f.steady())
		}})
	}
	return r.alternate(ctx, f.rounds, steps)
}

var cores = curve{
	name: "gomaxprocs", title: "Throughput and p99 against GOMAXPROCS",
	conditions: "200 connections; PostgreSQL and the load generator share the cores, and are not held to it",
	x:          scale{Name: "GOMAXPROCS of proxy and writer", Logarithmic: true}, panels: []panel{throughput, tail},
	measure: func(ctx context.Context, f *field, r *recorder) error {
		var steps []step
		for _, n := range []int{1, 2, 4} {
			l := programs.Launcher{Environment: []string{fmt.Sprint("GOMAXPROCS=", n)}}
			hop, err := f.hop(ctx, l)
			if err != nil {
				return err
			}
			stack, err := f.stack(ctx, 1, 1, l)
			if err != nil {
				return err
			}
			steps = append(steps,
				step{seriesHop, float64(n), func(ctx context.Context) (sample, error) { return f.load(ctx, hop, f.steady()) }},
				step{seriesStack, float64(n), func(ctx context.Context) (sample, error) { return f.load(ctx, stack, f.steady()) }})
		}
		return r.alternate(ctx, f.rounds, steps)
	},
}
