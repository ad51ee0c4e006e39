package programs

import (
	"bufio"
	"os"
	"os/exec"
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

// What a program starts counts for it, unless that is counted apart.
func TestCPUOfAProgramAndOfWhatItStarts(t *testing.T) {
	busy := exec.Command("sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done; read end")
	in, err := busy.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := busy.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := busy.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		busy.Wait()
	}()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	used := func(p Part) time.Duration {
		t.Helper()
		d, err := p.CPU()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	child := used(Part{PID: busy.Process.Pid})
	alone := used(Part{PID: os.Getpid(), Alone: true})
	if all := used(Part{PID: os.Getpid()}); child == 0 || all < alone+child {
		t.Errorf("%v in all, %v alone, %v by what was started", all, alone, child)
	}
}
