package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestQuartilesAreThoseOfTheValuesInOrder(t *testing.T) {
	f := func(values []float64, want quartiles) {
		t.Helper()
		got := quartilesOf(values)
		if math.Abs(got.low-want.low)+math.Abs(got.median-want.median)+math.Abs(got.high-want.high) > 1e-9 {
			t.Errorf("%v: got %v, want %v", values, got, want)
		}
	}
	f(nil, quartiles{})
	f([]float64{7}, quartiles{7, 7, 7})
	f([]float64{4, 1, 3, 2}, quartiles{1.75, 2.5, 3.25})
	f([]float64{5, 1, 4, 2, 3}, quartiles{2, 3, 4})
}

func TestAProcessIsReadWhateverItsNameIs(t *testing.T) {
	id, s, err := parseStat("42 (a) b (c) S 7 1 1 0 -1 4194304 1 2 3 4 10 20 30 40 20 0 1 0 100 0 0")
	if err != nil || id != 42 || s.parent != 7 || s.cpu != time.Second {
		t.Errorf("got %d %+v %v", id, s, err)
	}
	if _, _, err := parseStat("42 (short) S 7"); err == nil {
		t.Error("a short line was taken")
	}
}

func TestOnlyDescendantsAreCharged(t *testing.T) {
	all := map[int]stat{1: {parent: 0}, 2: {parent: 1}, 3: {parent: 2}, 4: {parent: 1}}
	for id, want := range map[int]bool{1: false, 2: true, 3: true, 4: false} {
		if got := descends(all, id, 2); got != want {
			t.Errorf("%d descends from 2: %v", id, got)
		}
	}
}

// Ensure the table says what a reader takes from it: medians, the ratio to keygate, and whose CPU time it was.
func TestTheTableComparesEachWithKeygate(t *testing.T) {
	rounds := func(rates ...float64) (all []figures) {
		for _, rate := range rates {
			all = append(all, figures{PerSecond: rate, P50: 1, P99: 2, Success: 1, CPU: map[string]float64{"it": 30, generator: 12}})
		}
		return all
	}
	g := measuredGroup{Title: "Race", Subjects: []measured{
		{Name: "keygate", Rounds: rounds(100, 300, 200)}, {Name: "other", Rounds: rounds(50, 50, 50)},
	}}
	for _, want := range []string{
		"| keygate | 200 (150–250) | 1.00 × | 1.0 / 2.0 | 100.00 % | 30.0 | it 30.0, loadtest 12.0 |",
		"| other | 50 (50–50) | 4.00 × |",
	} {
		if table := g.table(); !strings.Contains(table, want) {
			t.Errorf("%s\nlacks %s", table, want)
		}
	}
}

func TestALoadThatNobodyAnsweredIsNoRound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "round.json")
	if err := os.WriteFile(path, []byte(`{"figures":{"events":0}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readFigures(path); err == nil {
		t.Error("it was taken")
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	_, err := find("no-such-program-anywhere")
	if err == nil || !strings.Contains(err.Error(), "no-such-program-anywhere is not installed") {
		t.Errorf("got %v", err)
	}
}
