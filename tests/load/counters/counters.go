// Package counters reads what keygate's proxies and writers count, and says what a run has added to it.
package counters

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The series that the figures are made of.
const (
	lookups    = "keygate_proxy_lookups_total"        // by tier and outcome
	queries    = "keygate_proxy_source_queries_total" // to the source of keys
	statements = "keygate_writer_statements_total"    // to the database of events, by kind
)

const (
	patience = 2 * time.Second // an admin listener answers in milliseconds or is not there
	maxBytes = 16 << 20
)

// Reading is the state of the counters at one moment, summed over the programs of a kind.
type Reading struct {
	proxy, writer       map[series]float64
	proxyErr, writerErr error
}

// series is one line of the text format; labels that are not there are empty.
type series struct{ name, tier, outcome, kind string }

// Read asks every admin listener. What cannot be read is remembered as such, not an error: a run against another
// service has no such counters.
func Read(ctx context.Context, proxies, writers []string) Reading {
	var r Reading
	r.proxy, r.proxyErr = sum(ctx, proxies, lookups)
	r.writer, r.writerErr = sum(ctx, writers, statements)
	return r
}

func sum(ctx context.Context, admins []string, needed string) (map[series]float64, error) {
	if len(admins) == 0 {
		return nil, errors.New("no admin listener was named")
	}
	total := map[series]float64{}
	for _, admin := range admins {
		if err := scrape(ctx, admin, needed, total); err != nil {
			return nil, err
		}
	}
	return total, nil
}

// scrape adds one program's counters to total.
func scrape(ctx context.Context, admin, needed string, total map[series]float64) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(admin, "/")+"/metrics", nil)
	if err != nil {
		return fmt.Errorf("%s is not a URL", admin)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("%s does not answer", admin)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s/metrics answered %d", admin, response.StatusCode)
	}
	found, err := parse(io.LimitReader(response.Body, maxBytes), needed, total)
	if err != nil {
		return fmt.Errorf("reading %s/metrics: %w", admin, err)
	}
	if !found {
		return fmt.Errorf("%s has no keygate counters", admin)
	}
	return nil
}

// parse adds the wanted series of a page in Prometheus' text format to total, and tells whether the needed one is
// there.
func parse(page io.Reader, needed string, total map[series]float64) (found bool, err error) {
	lines := bufio.NewScanner(page)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		end := strings.IndexAny(lines.Text(), "{ ")
		if end < 0 {
			continue
		}
		s, rest := series{name: lines.Text()[:end]}, lines.Text()[end:]
		if s.name != lookups && s.name != queries && s.name != statements {
			continue
		}
		rest = s.label(rest)
		value, _, _ := strings.Cut(strings.TrimSpace(rest), " ") // a timestamp may follow
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return false, fmt.Errorf("the value of %s: %w", s.name, err)
		}
		total[s] += number
		found = found || s.name == needed
	}
	return found, lines.Err()
}

// label takes the labels off the front of a line. The values that matter here are plain words, without escapes.
func (s *series) label(line string) (rest string) {
	inside, rest, labelled := strings.Cut(strings.TrimPrefix(line, "{"), "}")
	if !strings.HasPrefix(line, "{") || !labelled {
		return line
	}
	for pair := range strings.SplitSeq(inside, ",") {
		name, value, _ := strings.Cut(pair, "=")
		value = strings.Trim(value, `"`)
		switch strings.TrimSpace(name) {
		case "tier":
			s.tier = value
		case "outcome":
			s.outcome = value
		case "kind":
			s.kind = value
		}
	}
	return rest
}
