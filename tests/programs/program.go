package programs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A minute is enough for a Python interpreter with all its imports on a machine that does other things, too.
const patience = time.Minute

// Program is a process that was started for a measurement.
type Program struct {
	Address string // where it listens, as host:port; empty if it is not known

	name  string
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

// Launch is how a program is started; it is ready once it accepts connections.
type Launch struct {
	Path   string
	Args   []string
	Env    []string
	Listen string
}

// Start runs a program until it is stopped or the bench closed, and returns once it listens.
func (b *Bench) Start(ctx context.Context, name string, l Launch) (*Program, error) {
	p, err := Start(b.Dir, name, l)
	if err != nil {
		return nil, err
	}
	b.programs = append(b.programs, p)
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return p, p.Await(limited, "it to listen on "+p.Address, p.listens)
}

// Start runs a program in a directory, until it is stopped. It sees none of our environment but PATH.
func Start(dir, name string, l Launch) (*Program, error) {
	log, err := os.CreateTemp(dir, name+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &Program{Address: l.Listen, name: name, log: log.Name(), ended: make(chan struct{})}
	p.cmd = exec.Command(l.Path, l.Args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = dir, log, log, dieWithUs()
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, l.Env...)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go p.wait()
	return p, nil
}

func (p *Program) wait() {
	_ = p.cmd.Wait()
	close(p.ended)
}

// Part is the program as a process whose CPU time counts.
func (p *Program) Part() Part { return Part{Name: p.name, PID: p.cmd.Process.Pid} }

func (p *Program) listens() bool {
	c, err := net.Dial("tcp", p.Address)
	return err == nil && c.Close() == nil
}

// Await waits until something holds of a program that runs.
func (p *Program) Await(ctx context.Context, what string, holds func() bool) error {
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
func (p *Program) lastWords() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-1000):]))
}

// Stop asks a program to end, and kills it if it has not within so long.
func (p *Program) Stop(within time.Duration) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(within):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s did not end when asked to", p.name)
	}
}

// FreeAddress returns a loopback address that nobody listens on. Another process may take it before it is used.
func FreeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
