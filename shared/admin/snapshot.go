package admin

import (
	"math"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Snapshot returns the series whose names begin with prefix as nested objects for Stats: by the name without the
// prefix, then by the values of their labels, outcome and state last. A distribution becomes its count, mean, median
// and 99th percentile since the start, the last two read off its buckets.
func Snapshot(gatherer prometheus.Gatherer, prefix string) map[string]any {
	families, _ := gatherer.Gather() // what can be gathered comes with the error
	all := make(map[string]any)
	for _, family := range families {
		name, ours := strings.CutPrefix(family.GetName(), prefix)
		if !ours {
			continue
		}
		for _, metric := range family.GetMetric() {
			path := []string{name}
			for _, label := range subjectFirst(metric.GetLabel()) {
				path = append(path, label.GetValue())
			}
			set(all, path, value(metric))
		}
	}
	return all
}

// subjectFirst puts what a series is about before what became of it, so that a tier's outcomes stand together.
func subjectFirst(labels []*dto.LabelPair) []*dto.LabelPair {
	rank := func(label *dto.LabelPair) int {
		if name := label.GetName(); name == "outcome" || name == "state" {
			return 1
		}
		return 0
	}
	labels = slices.Clone(labels)
	slices.SortStableFunc(labels, func(a, b *dto.LabelPair) int { return rank(a) - rank(b) })
	return labels
}

func set(object map[string]any, path []string, value any) {
	for _, name := range path[:len(path)-1] {
		inner, ok := object[name].(map[string]any)
		if !ok {
			inner = make(map[string]any)
			object[name] = inner
		}
		object = inner
	}
	object[path[len(path)-1]] = value
}

func value(metric *dto.Metric) any {
	switch {
	case metric.Counter != nil:
		return metric.Counter.GetValue()
	case metric.Gauge != nil:
		return metric.Gauge.GetValue()
	case metric.Histogram != nil:
		return distribution(metric.Histogram)
	}
	return nil
}

func distribution(h *dto.Histogram) map[string]any {
	count := h.GetSampleCount()
	figures := map[string]any{"count": count}
	if count > 0 {
		figures["mean"] = h.GetSampleSum() / float64(count)
		figures["p50"] = quantile(h, 0.5)
		figures["p99"] = quantile(h, 0.99)
	}
	return figures
}

// quantile interpolates within the bucket that holds the rank. Beyond the last bound it knows no better than the bound.
func quantile(h *dto.Histogram, q float64) float64 {
	rank := q * float64(h.GetSampleCount())
	lower, below := 0.0, 0.0
	for _, bucket := range h.GetBucket() {
		upper, within := bucket.GetUpperBound(), float64(bucket.GetCumulativeCount())
		if within >= rank {
			if math.IsInf(upper, 1) || within == below {
				return lower
			}
			return lower + (upper-lower)*(rank-below)/(within-below)
		}
		lower, below = upper, within
	}
	return lower
}
