package programs

import (
	"os"
	"testing"
	"time"
)

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

// A page or a kilobyte taken for a byte would be off by three orders of magnitude; a Go test takes megabytes.
func TestMemoryIsInBytes(t *testing.T) {
	if got, err := RSS(os.Getpid()); err != nil || got < 1<<20 || got > 1<<32 {
		t.Errorf("got %d, %v", got, err)
	}
}
