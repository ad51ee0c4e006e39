package command

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"keygate/migrations"
	"keygate/shared/database"
	"keygate/shared/flags"
	"keygate/writer/prune"
)

// Prune returns `prune`, of the program whose environment variables begin with program. Fallback says which database is
// meant where none is given.
func Prune(program string, fallback func() string) *cli.Command {
	var url string
	var olderThan time.Duration
	var includePending bool
	set := flags.New(program, "")
	set.String("database-url", &url, "where events are stored: postgres://… or sqlite:PATH")
	set.Duration("older-than", &olderThan, "remove events that were created longer ago than this, as in 720h")
	set.Bool("include-pending", &includePending, "also those that are not delivered yet")
	return &cli.Command{
		Name: "prune", Usage: "remove old events with their deliveries; can be broken off and run again", Flags: set.Flags(),
		Action: func(c *cli.Context) error {
			if olderThan <= 0 {
				return errors.New("say how old events may be with --older-than, as in --older-than 720h")
			}
			parsed, err := database.Parse(cmp.Or(url, fallback()))
			if err != nil {
				return fmt.Errorf("--database-url: %w", err)
			}
			db, err := database.Open(c.Context, parsed)
			if err != nil {
				return err
			}
			defer db.Close()
			if err := migrations.Check(c.Context, db, migrations.Events); err != nil {
				return err
			}
			tally, err := prune.Run(c.Context, db, prune.Config{
				Before: time.Now().Add(-olderThan), IncludePending: includePending,
				Progress: func(t prune.Tally) { fmt.Fprintf(c.App.ErrWriter, "removed %d of %d events\n", t.Removed, t.Seen) },
			})
			fmt.Fprintf(c.App.Writer, "%d events removed, %d spared\n", tally.Removed, tally.Seen-tally.Removed)
			return err
		},
	}
}
