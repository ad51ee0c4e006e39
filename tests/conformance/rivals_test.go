//go:build long

package conformance

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"keygate/tests/servers"
)

// TestHowNginxAndHAProxyJudge sends the same cases to both, and tells how they differ: above all where one of them refuses
// what we forward.
func TestHowNginxAndHAProxyJudge(t *testing.T) {
	cases := requestCases(t)
	ours := &verdicts{found: map[string]verdict{}}
	up := newUpstream(t, echo)
	e := newEdge(t, up.addr())
	(&run{tb: t, edge: e, up: up, judge: judge{org: org, key: e.key, ours: true}, next: new(atomic.Int32), brief: true}).tabulate(cases, ours)
	t.Logf("keygate: %v", ours.totals())
	for _, rival := range []struct{ name, config, program, flags string }{
		{"nginx", "nginx.conf", "nginx", "-p @DIR@ -c @DIR@/config"},
		{"haproxy", "haproxy.cfg", "haproxy", "-db -f @DIR@/config"},
	} {
		if _, err := exec.LookPath(rival.program); err != nil {
			t.Logf("%s is not installed", rival.name)
			continue
		}
		up := newUpstream(t, echo)
		theirs := &verdicts{found: map[string]verdict{}}
		e := startRival(t, up.addr(), rival.config, rival.program, rival.flags, e.key)
		(&run{tb: t, edge: e, up: up, judge: judge{org: org, key: e.key}, next: new(atomic.Int32), brief: true}).tabulate(cases, theirs)
		t.Logf("%s: %v", rival.name, theirs.totals())
		for _, c := range cases {
			our, their := ours.found[c.name], theirs.found[c.name]
			switch took := their.class == forwarded || their.class == lenient; {
			case their.class == broken:
				t.Logf("%s passes on what it should not: %-40s %v", rival.name, c.name, theirs.why[c.name])
			case our.class == forwarded && !took:
				t.Logf("%s is stricter: %-40s %-30v %v", rival.name, c.name, our, their)
			case our.class == refused && took:
				t.Logf("%s is more lenient: %-40s %-30v %v", rival.name, c.name, our, their)
			}
		}
	}
}

// tabulate sends all cases and keeps the verdicts. What must never happen is a verdict too: broken.
func (r *run) tabulate(cases []testCase, into *verdicts) {
	r.all(cases)
	r.edge.stop()
	r.up.close()
	into.why = map[string][]string{}
	for _, x := range r.done {
		v, faults := r.judge.judge(x, r.up.notes[x.id])
		_ = into.add(x, v)
		if len(faults) > 0 {
			into.why[x.of.name] = faults
		}
	}
}

func startRival(tb testing.TB, upstream, config, program, flags, key string) *edge {
	tb.Helper()
	dir := tb.TempDir()
	e := &edge{addr: servers.FreeAddr(tb), key: key}
	values := strings.NewReplacer("@DIR@", dir, "@LISTEN@", e.addr, "@UPSTREAM@", upstream, "@KEY@", key, "@ORG@", org)
	text, err := os.ReadFile(filepath.Join("testdata", config))
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(values.Replace(string(text))), 0o600); err != nil {
		tb.Fatal(err)
	}
	var output strings.Builder
	command := exec.Command(program, strings.Fields(values.Replace(flags))...)
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		tb.Fatal(err)
	}
	stopped := false
	e.stop = func() {
		if !stopped {
			stopped = true
			_ = command.Process.Kill()
			_ = command.Wait()
		}
	}
	tb.Cleanup(e.stop)
	for deadline := time.Now().Add(patience); ; {
		conn, err := net.DialTimeout("tcp", e.addr, patience)
		if err == nil {
			_ = conn.Close()
			return e
		}
		if time.Now().After(deadline) {
			e.stop()
			tb.Fatal(fmt.Errorf("waiting for %s: %w\n%s", program, err, output.String()))
		}
	}
}
