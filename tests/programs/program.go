package programs

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

// Program is a process that was started for a measurement.
type Program struct {
	Address string // where it listens, as host:port

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

// Start runs a program until it is stopped or the bench closed.
func (b *Bench) Start(ctx context.Context, name string, l Launch) (*Program, error) {
	p := &Program{Address: l.Listen, name: name, ended: make(chan struct{})}
	p.log = filepath.Join(b.Dir, fmt.Sprint(name, "-", len(b.programs), ".log"))
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(l.Path, l.Args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = b.Dir, log, log
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.Dir}, l.Env...)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	b.programs = append(b.programs, p)
	return p, p.await(ctx)
}

// Part is the program as a process whose CPU time counts.
func (p *Program) Part() Part { return Part{p.name, p.cmd.Process.Pid} }

func (p *Program) await(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if c, err := net.Dial("tcp", p.Address); err == nil {
			return c.Close()
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return fmt.Errorf("%s has ended: %s", p.name, p.lastWords())
		case <-limited.Done():
			return fmt.Errorf("%s does not listen on %s: %s", p.name, p.Address, p.lastWords())
		}
	}
}

// lastWords are the end of what the program has printed.
func (p *Program) lastWords() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-500):]))
}

func (p *Program) stop() error {
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

// FreeAddress returns a loopback address that nobody listens on. Another process may take it before it is used.
func FreeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
