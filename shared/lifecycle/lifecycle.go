// Package lifecycle runs a program from its arguments to its exit code.
//
// A program exits 0 when it did what was asked, a stop by SIGINT or SIGTERM included, and otherwise 1 with one line
// on stderr. Components that run side by side need nothing from here: golang.org/x/sync/errgroup stops all at
// the first error and waits for all.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"keygate/shared/memory"
)

// Main runs app with the arguments of the process and exits.
func Main(app *cli.App) {
	memory.Heed()
	os.Exit(Run(app, os.Args, os.Stderr))
}

// Run runs app and returns the exit code. The context of a command ends with the first SIGINT or SIGTERM; a second
// one ends the process at once. Run completes app so that errors come out as one line, flags may follow arguments, and
// words that no command knows are refused.
func Run(app *cli.App, args []string, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	complete(app)
	err := app.RunContext(ctx, arrange(app, args))
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	fmt.Fprintf(stderr, "%s: %s\n", app.Name, oneLine(err.Error()))
	return 1
}

// oneLine joins what errors.Join and multi-line drivers keep apart.
func oneLine(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "; ")
}
