package e2e

import (
	"path/filepath"
	"regexp"
	"testing"
)

func TestTheLoadTestPrintsTheFiveFigures(t *testing.T) {
	t.Parallel()
	s := newStandalone(t, t.TempDir()).start(t)
	text := run(t, launch{program: loadProgram, dir: s.dir, args: []string{
		"--target", "http://" + s.proxy, "--proxy-admin", "http://" + s.proxyAdmin, "--writer-admin", "http://" + s.writerAdmin,
		"--requests", "2000", "--concurrency", "50",
	}})
	for _, pattern := range []string{
		`throughput +[\d,]+ requests/s +2,000 accepted`,
		`latency +p50 [\d.,]+ ms +p95 [\d.,]+ ms +p99 [\d.,]+ ms`,
		`success +100\.00 %`,
		`queries/request +[01]\.\d+`,
		`cache hits +(100\.00|over 99\.99|99\.\d+) % +memory [\d.]+ %`,
	} {
		if !regexp.MustCompile(pattern).MatchString(text) {
			t.Errorf("no line is like %s in\n%s", pattern, text)
		}
	}
	if n := events(t, open(t, "sqlite:"+sqliteFile(t, filepath.Join(s.dir, "data")))); n != 2000 {
		t.Errorf("%d events are stored, not 2000", n)
	}
}
