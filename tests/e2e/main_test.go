// Package e2e tests the programs as their users meet them: the binaries are built, started as processes over a real
// Postgres and a real Redis, and spoken to over sockets. Nothing here looks inside.
package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// The programs by the names that go build gives them.
const (
	proxyProgram      = "proxy"
	writerProgram     = "writer"
	standaloneProgram = "standalone"
	loadProgram       = "load"
)

// binaries is the directory of the programs, which are built once for all tests.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "keygate-e2e-")
	if err != nil {
		return "", err
	}
	builtIn = dir
	build := exec.Command("go", "build", "-o", dir, "./proxy", "./writer", "./deploy/standalone", "./tests/load")
	build.Dir = filepath.Join("..", "..")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the programs: %w\n%s", err, output)
	}
	return dir, nil
})

// builtIn is what binaries made, to be removed.
var builtIn string

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if builtIn != "" {
			_ = os.RemoveAll(builtIn)
		}
		os.Exit(code)
	}))
}
