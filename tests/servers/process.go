package servers

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

//go:embed keeper.sh
var keeperScript string

// A fast shutdown of Postgres writes a checkpoint, and recovery after a kill replays the log: seconds on a busy disk.
const patience = 60 * time.Second

// How often a server that is starting or ending is looked at.
const pollInterval = 2 * time.Millisecond

// process is one server: its directory, which holds data and log, and its current incarnation, if any. Not safe for
// concurrent use. It waits by wait4 rather than exec.Cmd.Wait, which would need a goroutine to notice an early end.
type process struct {
	name   string
	dir    string
	user   *syscall.Credential // nil: our own
	pid    int                 // 0 while not running
	keeper *exec.Cmd
	pipe   io.WriteCloser // to the keeper
}

// newProcess makes a directory and its keeper. The last signal is what ends a server that need not keep its data.
func newProcess(name, lastSignal string, user *syscall.Credential) (*process, error) {
	dir, err := makeDir("keygate-"+name+"-", user)
	if err != nil {
		return nil, fmt.Errorf("making a directory for %s: %w", name, err)
	}
	keeper := exec.Command("sh", "-c", keeperScript, "keeper", dir, lastSignal)
	keeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // out of reach of the terminal's Ctrl-C
	pipe, err := keeper.StdinPipe()
	if err == nil {
		err = keeper.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the keeper of %s: %w", name, err), os.RemoveAll(dir))
	}
	return &process{name: name, dir: dir, user: user, keeper: keeper, pipe: pipe}, nil
}

func (p *process) logPath() string { return filepath.Join(p.dir, "log") }

// start runs the command and returns once ready says so.
func (p *process) start(ready func() error, program string, args ...string) error {
	if p.pid != 0 {
		return fmt.Errorf("%s is running already", p.name)
	}
	if err := p.launch(program, args...); err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		if p.ended() {
			return diedStarting(p.name, p.logPath())
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waiting for %s to answer: %w", p.name, err)
		}
		time.Sleep(pollInterval)
	}
}

func (p *process) launch(program string, args ...string) error {
	log, err := os.Create(p.logPath())
	if err != nil {
		return fmt.Errorf("opening the log of %s: %w", p.name, err)
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir = p.dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: p.user}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	return p.setPID(cmd.Process.Pid)
}

func (p *process) setPID(pid int) error {
	p.pid = pid
	if _, err := fmt.Fprintln(p.pipe, pid); err != nil {
		return fmt.Errorf("telling the keeper of %s: %w", p.name, err)
	}
	return nil
}

// ended reaps the server if it has ended.
func (p *process) ended() bool {
	for {
		got, err := syscall.Wait4(p.pid, nil, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if got == 0 && err == nil {
			return false
		}
		_ = p.setPID(0) // a keeper that is gone needs no telling
		return true
	}
}

// stop ends the server by a signal and waits.
func (p *process) stop(signal syscall.Signal) error {
	if p.pid == 0 {
		return nil
	}
	if err := syscall.Kill(p.pid, signal); err != nil {
		return fmt.Errorf("sending %v to %s: %w", signal, p.name, err)
	}
	deadline := time.Now().Add(patience)
	for !p.ended() {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s did not end within %v of %v", p.name, patience, signal)
		}
		time.Sleep(pollInterval)
	}
	return nil
}

// kill ends the server and its children at once, giving none of them the time to notice.
func (p *process) kill() error {
	if p.pid == 0 {
		return nil
	}
	family, err := p.pause()
	if err != nil {
		return err
	}
	for _, pid := range family {
		_ = syscall.Kill(pid, syscall.SIGKILL) // one that is gone already is what we want
	}
	if err := p.stop(syscall.SIGKILL); err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for _, pid := range family {
		for alive(pid) {
			if time.Now().After(deadline) {
				return fmt.Errorf("process %d of %s did not end", pid, p.name)
			}
			time.Sleep(pollInterval)
		}
	}
	return nil
}

// pause stops the server first, so that it starts no further children, and then the children.
func (p *process) pause() (family []int, err error) {
	return p.signalAll(syscall.SIGSTOP)
}

func (p *process) resume() error {
	_, err := p.signalAll(syscall.SIGCONT)
	return err
}

func (p *process) signalAll(signal syscall.Signal) (family []int, err error) {
	if p.pid == 0 {
		return nil, fmt.Errorf("%s is not running", p.name)
	}
	if err := syscall.Kill(p.pid, signal); err != nil {
		return nil, fmt.Errorf("sending %v to %s: %w", signal, p.name, err)
	}
	family, err = children(p.pid)
	if err != nil {
		return nil, fmt.Errorf("listing the processes of %s: %w", p.name, err)
	}
	for _, pid := range family {
		_ = syscall.Kill(pid, signal) // it may have ended meanwhile
	}
	return family, nil
}

// close ends the server and waits until its keeper has removed everything. The data is lost.
func (p *process) close() error {
	err := p.kill()
	return errors.Join(err, p.pipe.Close(), p.keeper.Wait())
}
