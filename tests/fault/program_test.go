package fault

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"keygate/tests/servers"
)

// visitor asks admin listeners. It keeps no connection, so that none belongs to a program that was killed.
var visitor = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}

// A program is the proxy or the writer, which may be killed and started again at the same address.
type program struct {
	tb    testing.TB
	path  string
	args  []string
	env   []string
	dir   string
	addr  string // of the data path
	admin string // the URL of the admin listener

	log    tail
	cmd    *exec.Cmd
	exited chan struct{} // of cmd
}

// newProgram returns one that does not run yet. It is gone when the test ends.
func newProgram(tb testing.TB, name string, env []string, args ...string) *program {
	tb.Helper()
	p := &program{tb: tb, path: binary(tb, name), dir: tb.TempDir(), addr: servers.FreeAddr(tb)}
	admin := servers.FreeAddr(tb)
	p.admin = "http://" + admin
	p.env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir}, env...)
	p.args = append([]string{"serve", "--listen", p.addr, "--admin-listen", admin}, args...)
	tb.Cleanup(func() {
		p.kill()
		if tb.Failed() {
			tb.Logf("the end of what %s said:\n%s", name, p.log.String())
		}
	})
	return p
}

func binary(tb testing.TB, name string) string {
	tb.Helper()
	dir, err := binaries.Dir()
	if err != nil {
		tb.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// start starts the program, and does not wait until it is ready.
func (p *program) start() {
	p.tb.Helper()
	cmd := exec.Command(p.path, p.args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = p.dir, p.env, dieWithUs()
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	if err := cmd.Start(); err != nil {
		p.tb.Fatal(err)
	}
	exited := make(chan struct{})
	p.cmd, p.exited = cmd, exited
	go func() {
		_ = cmd.Wait() // whoever wants to know asks for the exit code
		close(exited)
	}()
}

func (p *program) runs() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// ready waits until the program says that requests are welcome.
func (p *program) ready() *program {
	p.tb.Helper()
	eventually(p.tb, p.admin+"/readyz to be 200", func() bool {
		if !p.runs() {
			p.tb.Fatalf("%s has ended instead of getting ready", p.path)
		}
		response, err := visitor.Get(p.admin + "/readyz")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return p
}

// kill gives the program no time to notice.
func (p *program) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.exited
}

// terminate asks the program to end.
func (p *program) terminate() {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.tb.Fatal(err)
	}
}

// stop asks the program to end, and wants it to exit 0.
func (p *program) stop() {
	p.tb.Helper()
	p.terminate()
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.tb.Fatalf("%s does not end", p.path)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.tb.Errorf("exit code %d of %s", code, p.path)
	}
}

// queued is how many events the writer has admitted and not answered.
func (p *program) queued() int {
	p.tb.Helper()
	response, err := visitor.Get(p.admin + "/v1/stats")
	if err != nil {
		p.tb.Fatal(err)
	}
	defer response.Body.Close()
	var stats struct {
		Commit struct {
			QueueRows int `json:"queue_rows"`
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&stats); err != nil {
		p.tb.Fatal(err)
	}
	return stats.Commit.QueueRows
}

// A tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - tailSize; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
