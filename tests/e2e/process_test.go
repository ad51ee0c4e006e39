package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is for what takes milliseconds on an idle machine. This one may be busy with other tests.
const patience = 30 * time.Second

// launch is how a program is started. It sees none of the environment of the tests but PATH.
type launch struct {
	program string // one of ours, or an absolute path
	args    []string
	env     []string // NAME=value
	dir     string   // where it runs; empty: in a directory of its own
}

func (l launch) command(tb testing.TB) *exec.Cmd {
	tb.Helper()
	path := l.program
	if !filepath.IsAbs(path) {
		programs, err := binaries.Dir()
		if err != nil {
			tb.Fatal(err)
		}
		path = filepath.Join(programs, l.program)
	}
	cmd := exec.Command(path, l.args...)
	if cmd.Dir = l.dir; cmd.Dir == "" {
		cmd.Dir = tb.TempDir()
	}
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + cmd.Dir}, l.env...)
	cmd.SysProcAttr = dieWithUs()
	return cmd
}

// process is a program that runs, until the test ends at the latest.
type process struct {
	tb             testing.TB
	cmd            *exec.Cmd
	stdout, stderr transcript
	ended          chan struct{}
}

// start starts a program that is to go on running. What it prints is shown if the test fails.
func start(tb testing.TB, l launch) *process {
	tb.Helper()
	p := begin(tb, l)
	tb.Cleanup(func() {
		p.kill()
		if tb.Failed() {
			tb.Log(p)
		}
	})
	return p
}

func begin(tb testing.TB, l launch) *process {
	tb.Helper()
	p := &process{tb: tb, cmd: l.command(tb), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // whoever wants to know asks for the exit code
		close(p.ended)
	}()
	tb.Cleanup(p.kill)
	return p
}

// String is the command line and what it has printed.
func (p *process) String() string {
	return fmt.Sprintf("%q\nstdout:\n%s\nstderr:\n%s", p.cmd.Args, p.stdout.String(), p.stderr.String())
}

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// kill gives the program no time to notice.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// stop asks the program to end by a signal, and wants it to exit 0.
func (p *process) stop(signal syscall.Signal) {
	p.tb.Helper()
	p.signal(signal)
	if code := p.exitCode(); code != 0 {
		p.tb.Errorf("exit code %d after %v of %v", code, signal, p.cmd.Args)
	}
}

func (p *process) signal(signal syscall.Signal) {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.tb.Fatalf("sending %v to %s: %v", signal, p.cmd.Path, err)
	}
}

// exitCode waits for the program to end.
func (p *process) exitCode() int {
	p.tb.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.tb.Fatalf("it does not end: %v", p)
	}
	return p.cmd.ProcessState.ExitCode()
}

// output is all that the program has printed.
func (p *process) output() string { return p.stdout.String() + p.stderr.String() }

// run waits for a command, which is to exit 0, and returns its stdout.
func run(tb testing.TB, l launch) string {
	tb.Helper()
	p := begin(tb, l)
	if code := p.exitCode(); code != 0 {
		tb.Fatalf("exit code %d of %v", code, p)
	}
	return p.stdout.String()
}

// runFailing waits for a command, which is to exit 1 with one line on stderr, and returns that line.
func runFailing(tb testing.TB, l launch) string {
	tb.Helper()
	p := begin(tb, l)
	if code := p.exitCode(); code != 1 {
		tb.Errorf("exit code %d instead of 1 of %v", code, p)
	}
	line, ok := strings.CutSuffix(p.stderr.String(), "\n")
	if !ok || line == "" || strings.Contains(line, "\n") {
		tb.Errorf("stderr is not one line: %v", p)
	}
	return line
}

// transcript collects what a program prints.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// eventually waits until something holds.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	within(tb, patience, what, holds)
}

// within waits until something holds, and returns how long that took.
func within(tb testing.TB, limit time.Duration, what string, holds func() bool) time.Duration {
	tb.Helper()
	began := time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Since(began) > limit {
			tb.Fatalf("waited %v in vain for %s", limit, what)
		}
		<-tick.C
	}
	return time.Since(began)
}
