package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"keygate/tests/load/hist"
	"keygate/tests/load/run"
	"keygate/tests/load/traffic"
	"keygate/tests/programs"
)

const (
	// usual is how many connections and keys there are where they are not the question.
	usualConnections, usualKeys = 200, 100
	timeout                     = 10 * time.Second
)

// field is where one curve is measured.
type field struct {
	options
	*programs.Bench
	keys []string
	stub *programs.Program
}

// target is what is loaded: proxies alike, and the processes whose CPU time is charged.
type target struct {
	addresses []string
	parts     []programs.Part
}

func open(ctx context.Context, o options) (*field, error) {
	opened, err := programs.Open(ctx, o.bin)
	if err != nil {
		return nil, err
	}
	f := &field{options: o, Bench: opened}
	if f.stub, err = f.StartStub(ctx); err == nil {
		err = f.mint(ctx, usualKeys)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// mint makes n more keys, if that is any.
func (f *field) mint(ctx context.Context, n int) error {
	if n <= 0 {
		return nil
	}
	made, err := f.CreateKeys(ctx, n)
	for _, key := range made {
		f.keys = append(f.keys, key.Key)
	}
	return err
}

// hop starts a proxy over the stub.
func (f *field) hop(ctx context.Context, l programs.Launcher) (target, error) {
	l.Arguments = append([]string{"--upstream", "http://" + f.stub.Address}, l.Arguments...)
	p, err := f.StartOwn(ctx, "proxy", l)
	if err != nil {
		return target{}, err
	}
	return target{[]string{p.Address}, []programs.Part{p.Part(), f.stub.Part()}}, nil
}

// stack starts proxies over writers over the one PostgreSQL.
func (f *field) stack(ctx context.Context, proxies, writers int, l programs.Launcher) (target, error) {
	t := target{parts: f.Servers()[:len(f.Servers()):len(f.Servers())]}
	edge := programs.Launcher{
		Environment: l.Environment, Arguments: append([]string{"--upstream-idempotent", "/"}, l.Arguments...),
	}
	for range writers {
		w, err := f.StartOwn(ctx, "writer", programs.Launcher{Environment: l.Environment})
		if err != nil {
			return t, err
		}
		t.parts = append(t.parts, w.Part())
		edge.Arguments = append(edge.Arguments, "--upstream", "http://"+w.Address)
	}
	for range proxies {
		p, err := f.StartOwn(ctx, "proxy", edge)
		if err != nil {
			return t, err
		}
		t.parts, t.addresses = append(t.parts, p.Part()), append(t.addresses, p.Address)
	}
	return t, nil
}

// load is what is sent.
type load struct {
	connections int
	keys        []string
	zipf        float64
	payload     int       // bytes; 0 is the usual event
	cold        bool      // there is no warm-up
	warmup      run.Limit // none: a quarter of the duration
	limit       run.Limit // none: the duration
}

// steady is the load where nothing else is in question.
func (f *field) steady() load { return load{connections: usualConnections, keys: f.keys[:usualKeys]} }

// load sends it, and charges CPU time to the requests.
func (f *field) load(ctx context.Context, t target, l load) (sample, error) {
	if l.warmup == (run.Limit{}) {
		l.warmup = run.Limit{Duration: f.duration / 4}
	}
	if l.limit == (run.Limit{}) {
		l.limit = run.Limit{Duration: f.duration}
	}
	runner, err := run.Open(ctx, run.Plan{
		Addresses: t.addresses, Keys: traffic.NewKeys(l.keys, l.zipf), Connections: l.connections, Timeout: timeout,
		Shape: traffic.Shape{Host: t.addresses[0], Path: "/v1/events", Batch: 1, PayloadBytes: l.payload},
	})
	if err != nil {
		return sample{}, err
	}
	defer runner.Close()
	l.warm(ctx, runner)
	before, err := cpu(t.parts)
	if err != nil {
		return sample{}, err
	}
	got := runner.Phase(ctx, l.limit, hist.NewTimeline())
	after, err := cpu(t.parts)
	if err != nil {
		return sample{}, err
	}
	if ctx.Err() != nil || got.Requests == 0 {
		return sample{}, errors.Join(errors.New("the load was cut short"), ctx.Err())
	}
	s := sample{
		PerSecond: float64(got.OK) / got.Elapsed.Seconds(), Success: float64(got.OK) / float64(got.Requests),
		P50: milliseconds(got.Latency.Quantile(.5)), P99: milliseconds(got.Latency.Quantile(.99)),
		CPU: map[string]float64{"load": float64(got.CPU.Nanoseconds()) / 1e3 / float64(got.Requests)},
	}
	if got.OK < got.Requests {
		s.Failures = maps.Clone(got.Outcomes)
		delete(s.Failures, "201")
	}
	for name, used := range after {
		s.CPU[name] = float64((used - before[name]).Nanoseconds()) / 1e3 / float64(got.Requests)
	}
	return s, nil
}

// attempts are how often a program that has just started may refuse some of a warm-up. What is refused after that is
// measured.
const attempts = 5

// warm repeats the warm-up until all of it is accepted, unless the load is to come cold: then a few requests see that the
// programs are ready.
func (l load) warm(ctx context.Context, runner *run.Runner) {
	if l.cold {
		l.warmup = run.Limit{Requests: int64(l.connections)}
	}
	for range attempts {
		if got := runner.Phase(ctx, l.warmup, hist.NewTimeline()); got.OK == got.Requests {
			return
		}
		l.warmup = run.Limit{Duration: time.Second / 4}
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// cpu is the CPU time by name: several of a name are added up.
func cpu(parts []programs.Part) (map[string]time.Duration, error) {
	used := map[string]time.Duration{}
	for _, p := range parts {
		d, err := p.CPU()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		used[p.Name] += d
	}
	return used, nil
}
