package programs_test

import (
	"bufio"
	"os"
	"os/exec"
	"testing"
	"time"

	"keygate/tests/programs"
)

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
	used := func(p programs.Part) time.Duration {
		t.Helper()
		d, err := p.CPU()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	child := used(programs.Part{PID: busy.Process.Pid})
	alone := used(programs.Part{PID: os.Getpid(), Alone: true})
	if all := used(programs.Part{PID: os.Getpid()}); child == 0 || all < alone+child {
		t.Errorf("%v in all, %v alone, %v by what was started", all, alone, child)
	}
}
