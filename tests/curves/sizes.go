package main

import (
	"context"
	"fmt"

	"keygate/tests/programs"
)

const (
	seriesHop   = "hop: proxy over a stub"
	seriesStack = "stack: proxy, writer, PostgreSQL"
)

var connections = curve{
	name: "connections", title: "Throughput and p99 against connections",
	conditions: "one request in flight on each connection, events of about 100 bytes, 100 keys in memory",
	x:          scale{Name: "connections", Logarithmic: true}, panels: []panel{throughput, tail},
	measure: func(ctx context.Context, f *field, r *recorder) error {
		return f.sweep(ctx, r, []float64{1, 10, 50, 200, 1000, 2500, 5000}, func(x float64) load {
			return load{connections: int(x), keys: f.keys}
		})
	},
}

// With more connections than this, payloads of a MiB would be refused for the writer's --queue-bytes alone.
const payloadConnections = 32

var payload = curve{
	name: "payload", title: "Throughput and p99 against payload size",
	conditions: fmt.Sprintf("%d connections, text that does not compress, 100 keys in memory", payloadConnections),
	x:          scale{Name: "payload of an event", Unit: "bytes", Logarithmic: true}, panels: []panel{throughput, tail},
	measure: func(ctx context.Context, f *field, r *recorder) error {
		return f.sweep(ctx, r, []float64{100, 1 << 10, 10 << 10, 100 << 10, 1 << 20}, func(x float64) load {
			return load{connections: payloadConnections, keys: f.keys, payload: int(x)}
		})
	},
}

// sweep loads one hop and one stack, which stay the same, with loads of different sizes.
func (f *field) sweep(ctx context.Context, r *recorder, sizes []float64, of func(x float64) load) error {
	hop, err := f.hop(ctx, programs.Launcher{})
	if err != nil {
		return err
	}
	stack, err := f.stack(ctx, 1, 1, programs.Launcher{})
	if err != nil {
		return err
	}
	var steps []step
	for _, x := range sizes {
		steps = append(steps,
			step{seriesHop, x, func(ctx context.Context) (sample, error) { return f.load(ctx, hop, of(x)) }},
			step{seriesStack, x, func(ctx context.Context) (sample, error) { return f.load(ctx, stack, of(x)) }})
	}
	return r.alternate(ctx, f.rounds, steps)
}
