package run

import (
	"maps"
	"strconv"
)

// A server that answers with ever new codes may not fill the memory, or the report.
const maxLabels = 64

// tally counts outcomes.
type tally struct {
	statuses [600]int64
	failures map[string]int64 // "503 queue_full", "timeout"
	rejected map[string]int64 // codes of a batch's rejected events

	requests, ok, answered     int64
	events, accepted, repeated int64
}

func (t *tally) add(o outcome) {
	t.requests++
	t.events += int64(o.events)
	t.accepted += int64(o.accepted)
	t.repeated += int64(o.repeated)
	if o.ok {
		t.ok++
	}
	if o.status != 0 {
		t.answered++
	}
	switch {
	case o.failure != "":
		count(&t.failures, o.failure, 1)
	case o.code != "":
		count(&t.failures, strconv.Itoa(o.status)+" "+o.code, 1)
	default:
		t.statuses[min(o.status, len(t.statuses)-1)]++
	}
	for code, n := range o.rejected {
		count(&t.rejected, code, n)
	}
}

func (t *tally) merge(o *tally) {
	t.requests, t.ok, t.answered = t.requests+o.requests, t.ok+o.ok, t.answered+o.answered
	t.events, t.accepted, t.repeated = t.events+o.events, t.accepted+o.accepted, t.repeated+o.repeated
	for i, n := range o.statuses {
		t.statuses[i] += n
	}
	for label, n := range o.failures {
		count(&t.failures, label, n)
	}
	for code, n := range o.rejected {
		count(&t.rejected, code, n)
	}
}

// outcomes is how often each end came: by status, by status and code, or by the reason for having no answer.
func (t *tally) outcomes() map[string]int64 {
	all := maps.Clone(t.failures)
	for status, n := range t.statuses {
		if n > 0 {
			count(&all, strconv.Itoa(status), n)
		}
	}
	return all
}

func count(counts *map[string]int64, label string, n int64) {
	if *counts == nil {
		*counts = map[string]int64{}
	}
	if _, known := (*counts)[label]; !known && len(*counts) >= maxLabels {
		label = "other"
	}
	(*counts)[label] += n
}
