// Package command is the `migrate` command that both programs have, each for its own chains.
package command

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"keygate/migrations"
	"keygate/shared/database"
	"keygate/shared/flags"
)

// New returns `migrate up | down | status` for chains, of the program whose environment variables begin with program.
// With several chains, `up --only` picks one.
func New(program string, chains ...migrations.Chain) *cli.Command {
	return &cli.Command{
		Name: "migrate", Usage: "create and change keygate's tables",
		Subcommands: []*cli.Command{up(program, chains), down(program, chains), status(program, chains)},
	}
}

func up(program string, chains []migrations.Chain) *cli.Command {
	var url, only string
	set := flags.New(program, "")
	declareURL(set, &url)
	if len(chains) > 1 {
		set.String("only", &only, fmt.Sprintf("apply this chain alone, of %v", chains))
	}
	return &cli.Command{
		Name: "up", Usage: "apply every migration that is pending", Flags: set.Flags(),
		Action: func(c *cli.Context) error {
			picked := chains
			if only != "" {
				if !slices.Contains(chains, migrations.Chain(only)) {
					return fmt.Errorf("--only %s: use one of %v", only, chains)
				}
				picked = []migrations.Chain{migrations.Chain(only)}
			}
			return onDatabase(c.Context, url, func(ctx context.Context, db *database.DB) error {
				done, err := migrations.Up(ctx, db, picked...)
				tell(c.App.Writer, "applied", "nothing to apply", done)
				return err
			})
		},
	}
}

func down(program string, chains []migrations.Chain) *cli.Command {
	var url string
	set := flags.New(program, "")
	declareURL(set, &url)
	return &cli.Command{
		Name: "down", Usage: "undo the newest migration of each chain, with what its tables hold", Flags: set.Flags(),
		Action: func(c *cli.Context) error {
			return onDatabase(c.Context, url, func(ctx context.Context, db *database.DB) error {
				done, err := migrations.Down(ctx, db, chains...)
				tell(c.App.Writer, "undone", "nothing to undo", done)
				return err
			})
		},
	}
}

func status(program string, chains []migrations.Chain) *cli.Command {
	var url string
	set := flags.New(program, "")
	declareURL(set, &url)
	return &cli.Command{
		Name: "status", Usage: "list the migrations and when they were applied", Flags: set.Flags(),
		Action: func(c *cli.Context) error {
			return onDatabase(c.Context, url, func(ctx context.Context, db *database.DB) error {
				states, err := migrations.Status(ctx, db, chains...)
				for _, state := range states {
					fmt.Fprintf(c.App.Writer, "%-40s %s\n", state.Migration, since(state))
				}
				return err
			})
		},
	}
}

func since(state migrations.State) string {
	switch {
	case state.Unknown:
		return "applied by a newer keygate"
	case state.AppliedAt.IsZero():
		return "pending"
	}
	return "applied " + state.AppliedAt.UTC().Format(time.RFC3339)
}

func tell(w io.Writer, did, nothing string, done []migrations.Migration) {
	for _, m := range done {
		fmt.Fprintln(w, did, m)
	}
	if len(done) == 0 {
		fmt.Fprintln(w, nothing)
	}
}

func declareURL(set *flags.Set, url *string) {
	set.String("database-url", url, "the database to change: postgres://… or sqlite:PATH")
}

// onDatabase opens the database for one command.
func onDatabase(ctx context.Context, text string, do func(context.Context, *database.DB) error) error {
	url, err := database.Parse(text)
	if err != nil {
		return fmt.Errorf("--database-url: %w", err)
	}
	db, err := database.Open(ctx, url)
	if err != nil {
		return err
	}
	defer db.Close()
	return do(ctx, db)
}
