// Package command is the proxy's command line.
package command

import (
	"context"
	"os"

	"github.com/urfave/cli/v2"

	"keygate/migrations"
	migrate "keygate/migrations/command"
	"keygate/proxy/app"
	"keygate/proxy/config"
	"keygate/shared/build"
	"keygate/shared/flags"
	"keygate/shared/logging"
)

// App returns the program.
func App() *cli.App {
	return &cli.App{
		Name: "proxy", Usage: "find out who is calling, say so in a trusted header, and forward",
		Version: build.Info().Version,
		Commands: []*cli.Command{
			serve(), migrate.New("PROXY", migrations.Changelog, migrations.Auth), Keys("PROXY", func() string { return "" }),
			invalidateCommand(), explainCommand(), healthcheckCommand(),
		},
	}
}

func serve() *cli.Command {
	cfg := config.Default()
	set := flags.New("PROXY", "")
	cfg.Flags(set)
	return &cli.Command{
		Name: "serve", Usage: "serve clients", Flags: set.Flags(),
		Action: func(c *cli.Context) error { return run(c.Context, cfg) },
	}
}

func run(ctx context.Context, cfg config.Config) error {
	log, err := logging.New(cfg.Log.Level, cfg.Log.Format, os.Stderr)
	if err != nil {
		return err
	}
	proxy, err := app.Open(ctx, cfg, log, false)
	if err != nil {
		return err
	}
	return proxy.Run(ctx)
}
