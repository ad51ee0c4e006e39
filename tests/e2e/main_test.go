// Package e2e tests the programs as their users meet them: the binaries are built, started as processes over a real
// Postgres and a real Redis, and spoken to over sockets. Nothing here looks inside.
package e2e

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"keygate/tests/programs"
)

// The programs by the names that go build gives them.
const (
	proxyProgram      = "proxy"
	writerProgram     = "writer"
	standaloneProgram = "standalone"
	loadProgram       = "load"
)

var binaries = programs.Of("keygate/proxy", "keygate/writer", "keygate/deploy/standalone", "keygate/tests/load")

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = binaries.Remove()
		os.Exit(code)
	}))
}
