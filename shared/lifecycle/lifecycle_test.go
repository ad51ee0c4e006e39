package lifecycle_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
	"go.uber.org/goleak"

	"keygate/shared/flags"
	"keygate/shared/lifecycle"
)

// TestMain is also the program that the tests of signals start.
func TestMain(m *testing.M) {
	if os.Getenv("LIFECYCLE_TEST_PROGRAM") != "" {
		lifecycle.Main(program(os.Stdout))
	}
	goleak.VerifyTestMain(m)
}

func program(out io.Writer) *cli.App {
	var overlap, listen string
	var force bool
	rotate := flags.New("PROXY", "")
	rotate.String("overlap", &overlap, "how long both are good")
	rotate.Bool("force", &force, "ask nothing")
	serve := flags.New("PROXY", "")
	serve.String("listen", &listen, "address")
	fail := func(err error) cli.ActionFunc { return func(*cli.Context) error { return err } }
	return &cli.App{
		Name: "proxy", Usage: "keeps the gate", Writer: out, ErrWriter: out,
		Commands: []*cli.Command{
			{Name: "serve", Usage: "serve requests", Flags: serve.Flags(), Action: func(c *cli.Context) error {
				fmt.Fprintln(out, "listening")
				<-c.Context.Done()
				fmt.Fprintln(out, "draining")
				return nil
			}},
			{Name: "hang", Action: func(c *cli.Context) error {
				fmt.Fprintln(out, "listening")
				<-c.Context.Done()
				fmt.Fprintln(out, "hanging")
				select {}
			}},
			{Name: "migrate", Action: func(c *cli.Context) error {
				fmt.Fprintln(out, "listening")
				<-c.Context.Done()
				return fmt.Errorf("creating the tables: %w", c.Context.Err())
			}},
			{Name: "fail", Action: fail(errors.Join(errors.New("one:\n\tdetail"), errors.New("two")))},
			{Name: "exit", Action: fail(cli.Exit("not ready", 3))},
			{Name: "keys", Usage: "mint and revoke", Subcommands: []*cli.Command{
				{Name: "rotate", Usage: "replace a key", ArgsUsage: "PREFIX", Flags: rotate.Flags(),
					Action: func(c *cli.Context) error {
						fmt.Fprintf(out, "%v %s %v", c.Args().Slice(), overlap, force)
						return nil
					}},
			}},
		},
	}
}

func run(args ...string) (code int, stdout, stderr string) {
	var out, complaint strings.Builder
	code = lifecycle.Run(program(&out), append([]string{"proxy"}, args...), &complaint)
	return code, out.String(), complaint.String()
}

func TestAnErrorIsOneLineAndExitOne(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"fail", "proxy: one:; detail; two\n"},
		{"exit", "proxy: not ready\n"},
		{"srve", "proxy: unknown command \"srve\"; see proxy --help\n"},
		{"--loud", "proxy: flag provided but not defined: -loud; see proxy --help\n"},
		{"serve --loud", "proxy: flag provided but not defined: -loud; see proxy serve --help\n"},
		{"serve --listen", "proxy: flag needs an argument: -listen; see proxy serve --help\n"},
		{"serve now", "proxy: unexpected argument \"now\"; see proxy serve --help\n"},
		{"keys rotat", "proxy: unknown command \"rotat\"; see proxy keys --help\n"},
	} {
		code, stdout, stderr := run(strings.Fields(c.args)...)
		if code != 1 || stdout != "" || stderr != c.want {
			t.Errorf("%s: exit %d, stdout %q, stderr %q, want %q", c.args, code, stdout, stderr, c.want)
		}
	}
}

func TestFlagsMayFollowArguments(t *testing.T) {
	for args, want := range map[string]string{
		"keys rotate zap_live_a --overlap 1h":         "[zap_live_a] 1h false",
		"keys rotate --overlap 1h zap_live_a":         "[zap_live_a] 1h false",
		"keys rotate --force a --overlap=1h b":        "[a b] 1h true",
		"keys rotate a -- --overlap b":                "[a --overlap b]  false",
		"keys rotate --overlap 1h -- --force":         "[--force] 1h false",
		"keys rotate keys rotate --overlap 1h serve":  "[keys rotate serve] 1h false",
		"keys rotate - --force":                       "[-]  true",
		"keys rotate --overlap keys zap_live --force": "[zap_live] keys true",
	} {
		if code, stdout, stderr := run(strings.Fields(args)...); code != 0 || stdout != want {
			t.Errorf("%s: exit %d, %q, want %q; %s", args, code, stdout, want, stderr)
		}
	}
}

func TestHelpIsNoError(t *testing.T) {
	for args, want := range map[string]string{
		"": "keeps the gate", "--help": "keeps the gate", "help": "keeps the gate", "keys": "replace a key",
		"keys --help": "replace a key", "keys rotate --help": "--overlap text  $PROXY_OVERLAP",
		"help serve": "--listen text",
	} {
		code, stdout, stderr := run(strings.Fields(args)...)
		if code != 0 || !strings.Contains(stdout, want) || stderr != "" {
			t.Errorf("%q: exit %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
}

// child starts this test binary as the program and returns once it listens.
func child(t *testing.T, command string) (cmd *exec.Cmd, lines *bufio.Scanner, stderr *strings.Builder) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, os.Args[0], command)
	cmd.Env = append(os.Environ(), "LIFECYCLE_TEST_PROGRAM=1")
	stderr = &strings.Builder{}
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines = bufio.NewScanner(stdout)
	expect(t, lines, "listening")
	return cmd, lines, stderr
}

func expect(t *testing.T, lines *bufio.Scanner, want string) {
	t.Helper()
	if !lines.Scan() || lines.Text() != want {
		t.Fatalf("got %q, want %q", lines.Text(), want)
	}
}

func TestOneSignalStopsTheProgramCleanly(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd, lines, stderr := child(t, "serve")
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		expect(t, lines, "draining")
		if err := cmd.Wait(); err != nil || stderr.String() != "" {
			t.Errorf("%v: %v, stderr %q", sig, err, stderr)
		}
	}
}

func TestASecondSignalEndsAProgramThatHangs(t *testing.T) {
	cmd, lines, _ := child(t, "hang")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	expect(t, lines, "hanging")
	// The program's handler is taken away beside the command, so that the first of these may still be swallowed.
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
				t.Errorf("got %v", err)
			}
			return
		case <-time.After(10 * time.Millisecond): // a hail of signals, thousands a second, once crashed the Go runtime
		}
	}
}

func TestAnInterruptedCommandIsNoSuccess(t *testing.T) {
	cmd, _, stderr := child(t, "migrate")
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 || stderr.String() != "proxy: interrupted\n" {
		t.Errorf("got %v, stderr %q", err, stderr)
	}
}
