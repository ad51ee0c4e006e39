// Command loadtest puts an event API under load and says how it did. See loadtest --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"keygate/tests/load/app"
	"keygate/tests/load/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal ends the run and shows its figures, the second ends the process
	err := config.NewApp(func(c *cli.Context, o config.Options) error {
		return app.Run(c.Context, o, app.Streams{Out: os.Stdout, Err: os.Stderr, Terminal: app.IsTerminal(os.Stderr)})
	}).RunContext(ctx, os.Args)
	stop()
	if errors.Is(err, app.ErrThreshold) {
		os.Exit(1)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "loadtest:", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(2)
	}
}
