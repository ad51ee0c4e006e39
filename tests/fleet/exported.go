package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// samples are what a proxy exports, by series.
type samples map[string]float64

// scrape reads the metrics of a proxy.
func (p *proxy) scrape(ctx context.Context) (samples, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.admin+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := visitor.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	all := samples{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		at := strings.LastIndexByte(lines.Text(), ' ')
		if at < 0 || lines.Text()[0] == '#' {
			continue
		}
		if all[lines.Text()[:at]], err = strconv.ParseFloat(lines.Text()[at+1:], 64); err != nil {
			return nil, fmt.Errorf("reading a metric: %w", err)
		}
	}
	return all, lines.Err()
}

// sourceQueries is how often the proxies have asked the database for a key.
func (f *fleet) sourceQueries(ctx context.Context) (sum float64, err error) {
	for _, one := range f.proxies {
		all, err := one.scrape(ctx)
		if err != nil {
			return 0, err
		}
		n, known := all["keygate_proxy_source_queries_total"]
		if !known {
			return 0, errors.New("the queries of the source are not exported")
		}
		sum += n
	}
	return sum, nil
}

// buckets are an exported histogram: how many values are at most so many seconds, in order; the last is all of them.
type buckets []bucket

type bucket struct {
	seconds float64
	count   float64
}

// exported adds up what the proxies export of the time to revoke by one way.
func (f *fleet) exported(ctx context.Context, way string) (sum buckets, err error) {
	begin := `keygate_proxy_revocation_seconds_bucket{way="` + way + `",le="`
	for _, one := range f.proxies {
		all, err := one.scrape(ctx)
		if err != nil {
			return nil, err
		}
		for series, value := range all {
			rest, ours := strings.CutPrefix(series, begin)
			if !ours {
				continue
			}
			seconds, err := strconv.ParseFloat(strings.TrimSuffix(rest, `"}`), 64)
			if err != nil {
				return nil, err
			}
			at, known := slices.BinarySearchFunc(sum, seconds, func(b bucket, s float64) int { return cmp.Compare(b.seconds, s) })
			if !known {
				sum = slices.Insert(sum, at, bucket{seconds: seconds})
			}
			sum[at].count += value
		}
	}
	if len(sum) == 0 {
		return nil, errors.New("the time to revoke is not exported")
	}
	return sum, nil
}

// since is what was counted after an earlier reading.
func (b buckets) since(before buckets) buckets {
	grown := slices.Clone(b)
	for i := range min(len(grown), len(before)) {
		grown[i].count -= before[i].count
	}
	return grown
}

func (b buckets) count() int { return int(b[len(b)-1].count) }

// within returns the end in seconds of the bucket that holds a quantile: as much as an exported histogram can tell.
func (b buckets) within(q float64) float64 {
	for _, one := range b {
		if one.count > 0 && one.count >= q*b[len(b)-1].count {
			return one.seconds
		}
	}
	return 0
}
