package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// patience is for what takes milliseconds on an idle machine.
const patience = 30 * time.Second

// program is a process that this one has started.
type program struct {
	name  string
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

// start runs a program of the bench's directory, which sees none of our environment but PATH.
func (b *bench) start(name, binary string, env []string, args ...string) (*program, error) {
	p := &program{name: name, log: filepath.Join(b.dir, name+".log"), ended: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(filepath.Join(b.dir, binary), args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = b.dir, log, log, dieWithUs()
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir}, env...)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// await waits until something holds of a program that runs.
func (p *program) await(ctx context.Context, what string, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-p.ended:
			return fmt.Errorf("%s has ended: %s", p.name, p.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("%s: waiting for %s: %w: %s", p.name, what, ctx.Err(), p.lastWords())
		}
	}
	return nil
}

// lastWords are the end of what the program has printed.
func (p *program) lastWords() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-1000):]))
}

func (p *program) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s did not end when asked to", p.name)
	}
}

// resident is how much of the program is in memory, in bytes.
func (p *program) resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0, err
	}
	return resident * int64(os.Getpagesize()), nil
}

// startStub starts the upstream, which says where it listens.
func (b *bench) startStub() (err error) {
	b.stub = exec.Command(filepath.Join(b.dir, "responder"))
	b.stub.SysProcAttr = dieWithUs()
	printed, err := b.stub.StdoutPipe()
	if err != nil {
		return err
	}
	if err := b.stub.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(io.LimitReader(printed, 100)).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the upstream does not say where it listens: %w", err)
	}
	b.upstream = "http://" + strings.TrimSpace(line)
	return nil
}
