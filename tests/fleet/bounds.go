package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"keygate/tests/link"
)

// Times to live that can be waited for.
const (
	cacheTTL     = 2 * time.Second
	redisTTL     = 4 * time.Second
	staleIfError = 8 * time.Second
	boundKeys    = 24
	// What is heard at all is heard within the mark; beside the times above that is travel.
	travel = time.Second
)

var shortLives = []string{"--cache-ttl", "2s", "--redis-ttl", "4s", "--stale-if-error", "8s", "--negative-ttl", "1s"}

// bound is a row of the promise's table: who is cut off from what, who is told, and for how long an old answer can be given.
type bound struct {
	Name    string
	Because string
	Limit   time.Duration
	table   table
	flags   []string
	redis   int // how many proxies are cut off from it, of the first
	sql     int
	tell    func(ctx context.Context, f *fleet, keys []key) error
}

func silent(context.Context, *fleet, []key) error { return nil }

func del(ctx context.Context, f *fleet, keys []key) error {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = "org:prefix:" + k.prefix
	}
	return f.operator.Del(ctx, names...).Err()
}

// endpointElsewhere calls a proxy that is not cut off, and wants it to know that not everybody has heard.
func endpointElsewhere(ctx context.Context, f *fleet, keys []key) error {
	prefixes := make([]string, len(keys))
	for i, k := range keys {
		prefixes[i] = k.prefix
	}
	complete, err := f.proxies[len(f.proxies)-1].invalidate(ctx, prefixes...)
	if err == nil && complete {
		err = errors.New("an invalidation was called complete that not every proxy can have heard")
	}
	return err
}

var bounds = []bound{
	{"cut off from Redis: UPDATE with a change log", "travel", travel, watchedTable, nil, 1, 0, silent},
	{"cut off from Redis: DEL", "`--cache-ttl`", cacheTTL, foreignTable, nil, 1, 0, del},
	{"cut off from Redis: endpoint of another proxy", "`--cache-ttl`", cacheTTL, foreignTable, nil, 1, 0, endpointElsewhere},
	{"cut off from the database: DEL", "travel", travel, foreignTable, nil, 0, 1, del},
	{"all cut off from the database: nobody tells", "`--stale-if-error`", staleIfError, foreignTable, nil,
		0, fleetSize, silent},
	{"all links up: nobody tells", "`--cache-ttl` + `--redis-ttl`", cacheTTL + redisTTL, foreignTable, nil, 0, 0, silent},
	{"all cut off from both", "`--stale-if-error`", staleIfError, watchedTable, nil, fleetSize, fleetSize, silent},
	{"all cut off from both, `--stale-if-error 0`", "`--cache-ttl`", cacheTTL, watchedTable, []string{"--stale-if-error", "0"},
		fleetSize, fleetSize, silent},
}

// boundResult is the last old answer that was seen. Times are in milliseconds.
type boundResult struct {
	Name    string  `json:"name"`
	Because string  `json:"because"`
	BoundMS float64 `json:"bound_ms"`
	WorstMS float64 `json:"worst_seen_ms"`
	Asked   int     `json:"pairs_of_key_and_proxy"`
	Missed  int     `json:"missed"`
}

// measureBound lets keys be used at all ages of their copies, cuts, changes them all at once, and waits until the proxies
// that were cut off refuse them; where none was, until all do.
func measureBound(ctx context.Context, b *bench, row bound) (found boundResult, err error) {
	keys, err := mint(boundKeys)
	if err != nil {
		return found, err
	}
	f, err := b.launch(ctx, plan{
		table: row.table, size: fleetSize, keys: keys, linked: true, flags: slices.Concat(shortLives, row.flags),
	})
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	asked := f.proxies
	if n := max(row.redis, row.sql); n > 0 {
		asked = f.proxies[:n]
	}
	refusals := make([]refusal, len(keys)*len(asked))
	ctx, cancel := context.WithTimeout(ctx, redisTTL+row.Limit+patience)
	defer cancel()
	var watching sync.WaitGroup
	for i := range refusals {
		c, n := newClient(asked[i%len(asked)].addr), i/len(asked)
		watching.Go(func() {
			defer c.close()
			time.Sleep(redisTTL * time.Duration(n) / boundKeys) // so that copies are of all ages
			refusals[i] = watch(ctx, c, keys[n], useOf(n), time.Hour)
		})
	}
	time.Sleep(redisTTL + cacheTTL/2)
	for i, one := range f.proxies {
		if i < row.redis {
			one.redis.Set(link.Holds)
		}
		if i < row.sql {
			one.sql.Set(link.Holds)
		}
	}
	began := time.Now()
	err = errors.Join(f.table.revoke(ctx, f.db, keys...), row.tell(ctx, f, keys))
	if err != nil {
		cancel()
	}
	watching.Wait()
	found = boundResult{Name: row.Name, Because: row.Because, BoundMS: ms(row.Limit), Asked: len(refusals)}
	for _, got := range refusals {
		switch {
		case errors.Is(got.err, context.DeadlineExceeded):
			found.Missed++
		case got.err != nil:
			err = errors.Join(err, got.err)
		case got.refused.Before(began):
			err = errors.Join(err, fmt.Errorf("a good key was refused with %d", got.status))
		default:
			found.WorstMS = max(found.WorstMS, ms(got.passed.Sub(began)))
		}
	}
	return found, err
}

// useOf is how often a key is used: every other one all the time, the rest seldom.
func useOf(n int) func() time.Duration {
	if n%2 == 0 {
		return every(30 * time.Millisecond)
	}
	return func() time.Duration { return cacheTTL/4 + rand.N(cacheTTL) }
}

// measureBounds goes through the table.
func measureBounds(ctx context.Context, b *bench, _ options) (*result, error) {
	r, err := newResult(ctx, b, "bounds")
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "The last old answer after a change, with `%s`: when the request was sent that got it.\n\n"+
		"| | bound | by construction, s | worst seen, s | of |\n|---|---|---|---|---|\n", strings.Join(shortLives, " "))
	var all []boundResult
	for _, row := range bounds {
		found, err := measureBound(ctx, b, row)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", row.Name, err)
		}
		if found.Missed > 0 {
			return nil, fmt.Errorf("%s: %d keys are still let through", row.Name, found.Missed)
		}
		all = append(all, found)
		limit, worst := found.BoundMS/1000, found.WorstMS/1000
		fmt.Fprintf(os.Stderr, "bounds: %s: %.2f s of %.2f s\n", found.Name, worst, limit)
		fmt.Fprintf(&text, "| %s | %s | %.2f | %.2f | %d |\n", found.Name, found.Because, limit, worst, found.Asked)
	}
	return r.finish(all, text.String()), nil
}
