//go:build !race

package event_test

import (
	"syscall"
	"testing"
	"time"

	"keygate/writer/event"
)

// What is measured here is another under the race detector, which empties pools at random and slows everything down.

func TestDecodeAllocatesThreeTimes(t *testing.T) {
	got := testing.AllocsPerRun(1000, func() {
		if _, err := event.Decode(flat, testID, "org"); err != nil {
			t.Fatal(err)
		}
	})
	if got != 3 { // the event, its type and dedup id in one, its payload
		t.Errorf("%v allocations", got)
	}
}

// Each takes about half a second. An effort that grows with the square of the members would take minutes.
func TestTheLargestPayloadsAreReadAndComparedInTime(t *testing.T) {
	for name, pair := range largePayloads() {
		t.Run(name, func(t *testing.T) {
			start := processorTime(t)
			for _, payload := range pair {
				if _, err := event.Decode([]byte(`{"type":"t","payload":`+payload+`}`), testID, "org"); err != nil {
					t.Fatal(err)
				}
			}
			if !event.Same("t", []byte(pair[0]), "t", []byte(pair[1])) {
				t.Error("not the same")
			}
			if took := processorTime(t) - start; took > 15*time.Second {
				t.Errorf("took %v of processor time", took)
			}
		})
	}
}

// processorTime is what this process has used, so that a busy machine does not count.
func processorTime(tb testing.TB) time.Duration {
	tb.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano())
}
