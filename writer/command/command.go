// Package command is the writer's command line.
package command

import (
	"context"
	"os"

	"github.com/urfave/cli/v2"

	"keygate/migrations"
	migrate "keygate/migrations/command"
	"keygate/shared/build"
	"keygate/shared/flags"
	"keygate/shared/logging"
	"keygate/writer/app"
	"keygate/writer/config"
)

// App returns the program.
func App() *cli.App {
	return &cli.App{
		Name: "writer", Usage: "store events durably behind the proxy", Version: build.Info().Version,
		Commands: []*cli.Command{serve(), migrate.New("WRITER", migrations.Events), Prune("WRITER", func() string { return "" })},
	}
}

func serve() *cli.Command {
	cfg := config.Default()
	set := flags.New("WRITER", "")
	cfg.Flags(set)
	return &cli.Command{
		Name: "serve", Usage: "take events from the proxy", Flags: set.Flags(),
		Action: func(c *cli.Context) error { return run(c.Context, cfg) },
	}
}

func run(ctx context.Context, cfg config.Config) error {
	log, err := logging.New(cfg.LogLevel, cfg.LogFormat, os.Stderr)
	if err != nil {
		return err
	}
	writer, err := app.Open(ctx, cfg, log, false)
	if err != nil {
		return err
	}
	return writer.Run(ctx)
}
