package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
		{Name: "paired", Rounds: rounds(25, 75, 100)},
	}}
	for _, want := range []string{
		"| keygate | 200 (150–250) | 1.00 × (1.00–1.00) | 1.0 / 2.0 | 100.00 % | 30.0 | it 30.0, loadtest 12.0 |",
		"| other | 50 (50–50) | 4.00 × (3.00–5.00) |",
		"| paired | 75 (50–88) | 2.67 × (3.00–4.00) |",
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
