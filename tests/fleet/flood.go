package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"keygate/tests/programs"
)

const (
	goodKeys  = 1000
	goodRate  = 1000 // a second, by customers whose waiting is measured
	crowdSize = 400  // clients to each proxy, so that those who wait for their look-up do not slow the flood down
)

// flood is what customers have to live with for a phase.
type flood struct {
	name  string
	plan  crowdPlan
	want  int // status of what the flood is answered, besides 503
	crowd *crowd
}

// floodRound is what one phase gave.
type floodRound struct {
	Served  float64     `json:"customers_served_share"`
	P50MS   float64     `json:"customers_p50_ms"`
	P99MS   float64     `json:"customers_p99_ms"`
	SentPS  float64     `json:"flood_per_s"`
	Answers map[int]int `json:"flood_answers"`
	Source  float64     `json:"source_queries_per_s"`
	CPUus   float64     `json:"proxies_cpu_us_per_request"` // of the flood's and the customers' together
	MaxRSS  int64       `json:"most_resident_bytes"`
}

// floodResult is all that was found.
type floodResult struct {
	CapacityPS float64                 `json:"capacity_per_s"`
	RatePS     float64                 `json:"flood_intended_per_s"`
	SourceRate int                     `json:"source_rate_of_each_proxy"`
	Rounds     map[string][]floodRound `json:"rounds"`
	RSSBefore  int64                   `json:"resident_before_bytes"`
	Wrong      int                     `json:"good_keys_refused_afterwards"`
	Forgotten  float64                 `json:"good_keys_looked_up_afterwards"`
}

// trial is a fleet that knows its good keys, and customers that use them.
type trial struct {
	*fleet
	good      []key
	customers *customers
	floods    []*flood // the first one is the control
	rate      float64
}

func newTrial(ctx context.Context, b *bench, sourceRate int) (t *trial, capacity float64, err error) {
	t = &trial{}
	if t.good, err = mint(goodKeys); err != nil {
		return t, 0, err
	}
	if t.fleet, err = b.launch(ctx, plan{
		table: ownTable, size: fleetSize, keys: t.good, flags: []string{"--source-rate", strconv.Itoa(sourceRate)},
	}); err != nil {
		return t, 0, err
	}
	if wrong, err := t.knows(t.good, true); err != nil || wrong > 0 {
		return t, 0, fmt.Errorf("%d good keys are refused: %w", wrong, err)
	}
	if t.customers, err = t.fleet.customers(ctx, t.good, 2*connections); err != nil {
		return t, 0, err
	}
	t.customers.load(ctx, 0, time.Second)
	most := t.customers.load(ctx, 0, 2*time.Second)
	capacity = float64(most.passed) / most.elapsed.Seconds()
	t.rate = capacity / 4
	t.floods = []*flood{
		{name: "good keys (control)", plan: crowdPlan{Keys: goodKind}, want: 201},
		{name: "unknown keys, one address", plan: crowdPlan{Keys: unknownKind}, want: 401},
		{name: "unknown keys, an address for each client", plan: crowdPlan{Keys: unknownKind, Scattered: true}, want: 401},
		{name: "wrong secrets of good keys", plan: crowdPlan{Keys: wrongKind, Scattered: true}, want: 401},
	}
	for _, one := range t.floods {
		one.plan.Size, one.plan.Good = crowdSize, texts(t.good)
		if one.crowd, err = t.gather(one.plan); err != nil {
			return t, 0, err
		}
	}
	return t, capacity, nil
}

func (t *trial) close() (err error) {
	for _, one := range t.floods {
		if one.crowd != nil {
			err = errors.Join(err, one.crowd.close())
		}
	}
	if t.customers != nil {
		t.customers.close()
	}
	if t.fleet != nil {
		err = errors.Join(err, t.stop())
	}
	return err
}

// phase has customers send beside a flood.
func (t *trial) phase(ctx context.Context, what *flood, lasts time.Duration) (r floodRound, err error) {
	before, err := t.sourceQueries(ctx)
	if err != nil {
		return r, err
	}
	usedBefore, err := t.proxiesCPU()
	if err != nil {
		return r, err
	}
	began := time.Now()
	flooding, end := context.WithCancel(ctx)
	defer end()
	var pressed error
	var crowd sync.WaitGroup
	crowd.Go(func() { r.Answers, pressed = what.crowd.press(flooding, t.rate) })
	saw := t.customers.load(ctx, goodRate, lasts)
	end()
	crowd.Wait()
	took := time.Since(began).Seconds()
	used, failed := t.proxiesCPU()
	after, err := t.sourceQueries(ctx)
	if err = errors.Join(err, pressed, failed); err != nil {
		return r, err
	}
	requests := saw.sent
	for status, n := range r.Answers {
		requests += int64(n)
		if r.SentPS += float64(n) / took; status != what.want && status != 503 {
			err = errors.Join(err, fmt.Errorf("%s were answered %d, %d times", what.name, status, n))
		}
	}
	r.Served = float64(saw.passed) / float64(saw.sent)
	r.P50MS, r.P99MS = ms(saw.latency.Quantile(.5)), ms(saw.latency.Quantile(.99))
	r.Source = (after - before) / took
	r.CPUus = float64((used - usedBefore).Microseconds()) / float64(requests)
	if rss, failed := t.mostResident(); failed == nil {
		r.MaxRSS = rss
	} else {
		err = errors.Join(err, failed)
	}
	return r, err
}

// proxiesCPU is the processor time that all proxies together have used.
func (f *fleet) proxiesCPU() (sum time.Duration, err error) {
	for _, one := range f.proxies {
		used, err := one.Part().CPU()
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

func (f *fleet) mostResident() (most int64, err error) {
	for _, one := range f.proxies {
		rss, err := programs.RSS(one.Part().PID)
		if err != nil {
			return 0, err
		}
		most = max(most, rss)
	}
	return most, nil
}

// measureFlood alternates floods and control, and asks for every good key in the end.
func measureFlood(ctx context.Context, b *bench, o options) (found floodResult, err error) {
	t, capacity, err := newTrial(ctx, b, o.sourceRate)
	defer func() { err = errors.Join(err, t.close()) }()
	if err != nil {
		return found, err
	}
	found = floodResult{CapacityPS: capacity, RatePS: t.rate, SourceRate: o.sourceRate, Rounds: make(map[string][]floodRound)}
	for round := range o.rounds + 1 {
		for turn := range t.floods {
			what := t.floods[(round+turn)%len(t.floods)]
			got, err := t.phase(ctx, what, o.phase)
			if err != nil {
				return found, err
			}
			if round == 0 { // connections and pools fill
				found.RSSBefore = max(found.RSSBefore, got.MaxRSS)
				continue
			}
			found.Rounds[what.name] = append(found.Rounds[what.name], got)
			fmt.Fprintf(os.Stderr, "floods: round %d of %d: %s: p99 %.1f ms beside %.0f a second\n",
				round, o.rounds, what.name, got.P99MS, got.SentPS)
		}
	}
	before, err := t.sourceQueries(ctx)
	if err != nil {
		return found, err
	}
	if found.Wrong, err = t.knows(t.good, true); err != nil {
		return found, err
	}
	after, err := t.sourceQueries(ctx)
	found.Forgotten = after - before
	return found, err
}

func measureFloods(ctx context.Context, b *bench, o options) (*result, error) {
	r, err := newResult(ctx, b, "floods")
	if err != nil {
		return nil, err
	}
	found, err := measureFlood(ctx, b, o)
	if err != nil {
		return nil, err
	}
	return r.finish(found, found.table()), nil
}

// ratios compare a flood's rounds with the control's, and return the quartiles.
func ratios(control, rounds []floodRound) (low, median, high float64) {
	var all []float64
	for i, r := range rounds {
		all = append(all, r.P99MS/control[i].P99MS)
	}
	slices.Sort(all)
	at := func(share float64) float64 { return all[int(share*float64(len(all)-1)+.5)] }
	return at(.25), at(.5), at(.75)
}

func (r floodResult) table() string {
	var text strings.Builder
	fmt.Fprintf(&text, "Customers send %d requests a second with %d good keys. Beside them comes a quarter of the %.0f\n"+
		"requests a second that the fleet answered at most. Each proxy has --source-rate %d. The ratio is that of p99 to the\n"+
		"control's in the same round: median (quartiles).\n\n"+
		"| beside | a second | customers served | p99, ms | ratio | proxies' CPU µs a request | "+
		"source queries a second | answers | MB resident |\n"+
		"|---|---|---|---|---|---|---|---|---|\n", goodRate, goodKeys, r.CapacityPS, r.SourceRate)
	names := slices.Sorted(maps.Keys(r.Rounds))
	for _, name := range names {
		r.row(&text, name, r.Rounds[names[0]])
	}
	fmt.Fprintf(&text, "\nAfter a first round of each %.0f MB were resident. In the end all good keys were presented to each\n"+
		"proxy once more: %d were refused, and the database was asked %.0f times.\n",
		float64(r.RSSBefore)/1e6, r.Wrong, r.Forgotten)
	return text.String()
}

func (r floodResult) row(text *strings.Builder, name string, control []floodRound) {
	var p99, sent, source, cpu []float64
	served, rss, answers := 1.0, int64(0), make(map[int]int)
	for _, one := range r.Rounds[name] {
		p99, sent, source = append(p99, one.P99MS), append(sent, one.SentPS), append(source, one.Source)
		cpu = append(cpu, one.CPUus)
		served, rss = min(served, one.Served), max(rss, one.MaxRSS)
		for status, n := range one.Answers {
			answers[status] += n
		}
	}
	low, median, high := ratios(control, r.Rounds[name])
	fmt.Fprintf(text, "| %s | %.0f | %.3f %% | %.1f | %.2f (%.2f–%.2f) | %.0f | %.0f, at most %.0f | %v | %.0f |\n",
		name, middle(sent), 100*served, middle(p99), median, low, high, middle(cpu),
		middle(source), slices.Max(source), answers, float64(rss)/1e6)
}

func middle(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
