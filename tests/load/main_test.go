package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"keygate/tests/load/fakeapi"
)

// With this variable set the test binary is loadtest itself.
const asProgram = "KEYGATE_TEST_RUNS_LOADTEST"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// loadtest is the program, ready to be started in an empty directory.
func loadtest(tb testing.TB, args ...string) *exec.Cmd {
	tb.Helper()
	command := exec.CommandContext(tb.Context(), os.Args[0], args...)
	command.Env = []string{asProgram + "=1", "LOADTEST_KEY=secret"}
	command.Dir = tb.TempDir()
	return command
}

// start starts the program; what it returns waits for the end.
func start(tb testing.TB, command *exec.Cmd) (finish func() (code int, stdout, stderr string)) {
	tb.Helper()
	var out, diagnostics bytes.Buffer
	command.Stdout, command.Stderr = &out, &diagnostics
	if err := command.Start(); err != nil {
		tb.Fatal(err)
	}
	return func() (int, string, string) {
		var exit *exec.ExitError
		if err := command.Wait(); err != nil && !errors.As(err, &exit) {
			tb.Fatal(err)
		}
		return command.ProcessState.ExitCode(), out.String(), diagnostics.String()
	}
}

func TestTheExitCodeIsTheVerdict(t *testing.T) {
	api := fakeapi.New(t)
	for name, c := range map[string]struct {
		args []string
		code int
	}{
		"every threshold holds": {[]string{"--target", api.URL, "--requests", "100", "--min-rate", "1"}, 0},
		"one does not":          {[]string{"--target", api.URL, "--requests", "100", "--min-rate", "1000000"}, 1},
		"nobody there":          {[]string{"--target", "http://127.0.0.1:1"}, 2},
		"not understood":        {[]string{"--reqests", "1"}, 2},
		"two complaints":        {[]string{"--batch", "0", "--concurrency", "0"}, 2},
		"help":                  {[]string{"--help"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := start(t, loadtest(t, c.args...))()
			if code != c.code {
				t.Errorf("exit code %d, want %d\n%s%s", code, c.code, stdout, stderr)
			}
			if code == 2 && (strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "loadtest: ") || stdout != "") {
				t.Errorf("not one clear line: %q and %q", stdout, stderr)
			}
		})
	}
}

func TestASignalEndsTheRunWithItsFigures(t *testing.T) {
	api := fakeapi.New(t)
	command := loadtest(t, "--target", api.URL, "--duration", "1h", "--concurrency", "2")
	reached := make(chan struct{})
	api.Answer(func(n int) (int, string) {
		if n == 100 {
			close(reached)
		}
		return 0, ""
	})
	finish := start(t, command)
	<-reached
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	code, stdout, _ := finish()
	if code != 1 || !strings.Contains(stdout, "throughput") || !strings.Contains(stdout, "interrupted") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}
