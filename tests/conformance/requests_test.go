package conformance

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// The honest request around the cases, and the last one on a connection, which ends it.
const (
	honest = "GET /~/chunked HTTP/1.1|H|K||"
	last   = "GET /~ HTTP/1.1|H|K|Connection: close||"
)

// workers share the cases among them, each with an edge and an upstream of its own.
const workers = 4

// requestCases are all cases, written and generated.
func requestCases(tb testing.TB) []testCase {
	return slices.Concat(parseCases(tb, "requests.txt"), mutations())
}

func TestEveryRequestIsForwardedAsItIsOrRefused(t *testing.T) {
	cases := requestCases(t)
	table := &verdicts{found: map[string]verdict{}}
	var next atomic.Int32
	var running sync.WaitGroup
	for range workers {
		up := newUpstream(t, echo)
		e := newEdge(t, up.addr())
		running.Go(func() {
			run := &run{tb: t, edge: e, up: up, judge: judge{org: org, key: e.key, ours: true}, next: &next}
			run.all(cases)
			for _, f := range run.weigh(table.add) {
				t.Error(f)
			}
		})
	}
	running.Wait()
	table.compare(t, filepath.Join("testdata", "verdicts.txt"))
}

// run sends cases to one edge.
type run struct {
	tb    testing.TB
	edge  *edge
	up    *upstream
	judge judge
	next  *atomic.Int32 // the case that nobody has taken yet
	brief bool          // only alone and pipelined
	ids   int
	nudge *nudge
	done  []*exchange
}

// all sends the cases that no other run has taken.
func (r *run) all(cases []testCase) {
	r.nudge = newNudge(r.tb, r.edge.addr)
	defer r.nudge.close()
	for {
		i := int(r.next.Add(1)) - 1
		if i >= len(cases) {
			return
		}
		c := cases[i]
		if !c.generated {
			r.send(c, "alone", "", nil)
		}
		r.send(c, "pipelined", honest, nil)
		if r.brief || !c.framing {
			continue
		}
		r.send(c, "in bytes", "", func(b []byte) [][]byte { return slices.Collect(slices.Chunk(b, 1)) })
		length := len(expand(r.tb, c.text, r.edge.key, idOf(0)))
		for at := 1 + i%splitStride; at < length && length < largeCase; at += splitStride {
			r.send(c, fmt.Sprintf("split at %d", at), "", func(b []byte) [][]byte { return [][]byte{b[:at], b[at:]} })
		}
	}
}

// largeCase is from where on a case is not split: what it is about is its size.
const largeCase = 1 << 10

func (r *run) send(c testCase, variant, before string, split func([]byte) [][]byte) {
	r.ids++
	x := &exchange{of: c, variant: variant, id: idOf(r.ids)}
	x.sent = expand(r.tb, before, r.edge.key, x.id)
	x.from = len(x.sent)
	x.sent = append(x.sent, expand(r.tb, c.text, r.edge.key, x.id)...)
	x.to = len(x.sent)
	x.sent = append(x.sent, expand(r.tb, last, r.edge.key, x.id)...)
	parts := [][]byte{x.sent}
	if split != nil && x.to < largeCase {
		parts = split(x.sent)
	}
	x.perform(r.tb, r.edge.addr, parts, func() { r.nudge.once(r.tb) })
	r.done = append(r.done, x)
}

// weigh stops the edge, so that the upstream has seen all that it will ever see, and judges every exchange. It returns
// what must never happen.
func (r *run) weigh(verdict func(x *exchange, v verdict) error) (faults []string) {
	r.edge.stop()
	r.up.close()
	known, told := map[string]bool{}, map[string]bool{}
	for _, x := range r.done {
		known[x.id] = true
		v, found := r.judge.judge(x, r.up.notes[x.id])
		if err := verdict(x, v); err != nil {
			found = append(found, err.Error())
		}
		if len(found) > 0 && !told[x.of.name] { // other variants would say the same
			told[x.of.name] = true
			faults = append(faults, fmt.Sprintf("%s, %s: %s\nsent     %.300q\nreceived %.300q", x.of.name, x.variant, strings.Join(found, "\n"), x.sent, x.received))
		}
	}
	for id, notes := range r.up.notes {
		if !known[id] {
			faults = append(faults, fmt.Sprintf("the upstream saw a request that nobody sent: %.200q", notes[0].raw))
		}
	}
	return faults
}

// verdicts are the table that is kept in testdata.
type verdicts struct {
	mu    sync.Mutex
	found map[string]verdict
	why   map[string][]string // the faults of those that are broken
}

// add keeps the verdict of a case, which has to be the same in all variants.
func (t *verdicts) add(x *exchange, v verdict) error {
	if v.unasked {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	before, known := t.found[x.of.name]
	if !known || x.variant == "alone" {
		t.found[x.of.name] = v
	}
	if known && !before.agrees(v) {
		return fmt.Errorf("the verdict is %v, and in another variant %v", v, before)
	}
	return nil
}

// agrees says whether two verdicts are the same. A request behind another may be refused, or not be looked at any more.
func (v verdict) agrees(other verdict) bool {
	n := min(len(v.statuses), len(other.statuses))
	cut := n > 0 && !v.open && !other.open && slices.Equal(v.statuses[:n], other.statuses[:n]) && v.class != dropped
	return v.String() == other.String() || cut && n < max(len(v.statuses), len(other.statuses))
}

func (t *verdicts) String() string {
	var table strings.Builder
	for _, name := range slices.Sorted(maps.Keys(t.found)) {
		fmt.Fprintf(&table, "%-50s %v\n", name, t.found[name])
	}
	return table.String()
}

// totals counts cases by the class of their verdict.
func (t *verdicts) totals() map[string]int {
	totals := map[string]int{}
	for _, v := range t.found {
		totals[v.class]++
	}
	return totals
}

// compare fails the test if the table in the file is another one, or with -update writes it.
func (t *verdicts) compare(tb testing.TB, file string) {
	tb.Helper()
	tb.Logf("%d cases: %v", len(t.found), t.totals())
	if *update && !tb.Failed() {
		if err := os.WriteFile(file, []byte(t.String()), 0o644); err != nil {
			tb.Fatal(err)
		}
		return
	}
	content, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	want := strings.Split(string(content), "\n")
	have := strings.Split(t.String(), "\n")
	for _, line := range have {
		if !slices.Contains(want, line) {
			tb.Errorf("a new verdict:     %s", line)
		}
	}
	for _, line := range want {
		if !slices.Contains(have, line) {
			tb.Errorf("a verdict is gone: %s", line)
		}
	}
}
