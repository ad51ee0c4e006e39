package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"keygate/migrations"
	"keygate/shared/database"
)

const (
	// checkTimeout bounds one attempt to reach the database, checkRetry is how often one that is away is looked for.
	checkTimeout = 5 * time.Second
	checkRetry   = time.Second
)

// isTransient says whether a database may be as it has to be later. What an operator has to mend is not transient.
func isTransient(err error) bool {
	return !errors.Is(err, migrations.ErrPending) && !errors.Is(err, migrations.ErrNewer)
}

// checkDatabase asks once whether the tables are there. It uses a connection of its own: the sink belongs to the committer.
func (a *App) checkDatabase(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	db, err := database.Open(ctx, a.url)
	if err == nil {
		defer db.Close()
		err = migrations.Check(ctx, db, migrations.Events)
	}
	if err != nil {
		return fmt.Errorf("looking for the events' tables in %s: %w", a.url, err)
	}
	a.checked.Store(true)
	return nil
}

// awaitDatabase goes on asking until the tables are found. Tables that are not there end the program.
func (a *App) awaitDatabase(ctx context.Context) error {
	for waiting := false; !a.checked.Load(); waiting = true {
		err := a.checkDatabase(ctx)
		switch {
		case err == nil:
			a.log.Info("the database answers", "database", a.url.String())
			return nil
		case !isTransient(err):
			return err
		case !waiting:
			a.log.Warn("waiting for the database", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(checkRetry):
		}
	}
	return nil
}
