package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A minute is enough for a Python interpreter with all its imports on a machine that does other things, too.
const patience = time.Minute

// program is a process that was started for the comparison.
type program struct {
	name  string
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

// launch is how a program is started; it is ready once it accepts connections.
type launch struct {
	path   string
	args   []string
	env    []string
	listen string
}

// start runs a program until the bench is closed.
func (b *bench) start(ctx context.Context, name string, l launch) (*program, error) {
	p := &program{name: name, log: filepath.Join(b.dir, name+".log"), ended: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(l.path, l.args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = b.dir, log, log
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir}, l.env...)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	b.programs = append(b.programs, p)
	return p, p.await(ctx, l.listen)
}

func (p *program) await(ctx context.Context, address string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if c, err := net.Dial("tcp", address); err == nil {
			return c.Close()
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return fmt.Errorf("%s has ended: %s", p.name, p.lastWords())
		case <-limited.Done():
			return fmt.Errorf("%s does not listen on %s: %s", p.name, address, p.lastWords())
		}
	}
}

// lastWords are the end of what the program has printed.
func (p *program) lastWords() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-500):]))
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

// freeAddress returns a loopback address that nobody listens on. Another process may take it before it is used.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
