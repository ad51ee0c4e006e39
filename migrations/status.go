package migrations

import (
	"context"
	"errors"
	"fmt"
	"time"

	"keygate/shared/database"
)

// The states that a program must not serve in. The errors that wrap them are sentences for the operator.
var (
	ErrPending = errors.New("the database is not migrated")
	ErrNewer   = errors.New("the database was migrated by a newer keygate")
	// ErrNeeds reports that Auth was to be applied without Changelog.
	ErrNeeds = errors.New("the chain auth needs the chain changelog first")
)

// State is a migration with when it was applied.
type State struct {
	Migration
	AppliedAt time.Time // zero: pending
	Unknown   bool      // applied by a newer keygate; only Chain, Version and Name are known
}

// Status lists the migrations of the chains, applied or not, in their order.
func Status(ctx context.Context, db *database.DB, chains ...Chain) ([]State, error) {
	var all []State
	for _, chain := range chains {
		states, err := statusOf(ctx, db, db.Dialect, chain)
		if err != nil {
			return nil, err
		}
		all = append(all, states...)
	}
	return all, nil
}

// Check returns ErrPending or ErrNewer unless the chains are exactly as far as this program knows them. Programs check
// before they serve, and none but `migrate up` migrates.
func Check(ctx context.Context, db *database.DB, chains ...Chain) error {
	for _, chain := range chains {
		if err := check(ctx, db, db.Dialect, chain); err != nil {
			return err
		}
	}
	return nil
}

func check(ctx context.Context, db handle, dialect database.Dialect, chain Chain) error {
	states, err := statusOf(ctx, db, dialect, chain)
	if err != nil {
		return err
	}
	for _, state := range states {
		switch {
		case state.Unknown:
			return newer(state.Migration)
		case state.AppliedAt.IsZero():
			return fmt.Errorf("%w: %s is pending; run `%s`", ErrPending, state.Migration, chain.command())
		}
	}
	return nil
}

func newer(m Migration) error {
	return fmt.Errorf("%w: this program does not know %s; use the newer one", ErrNewer, m)
}

// String names the migration for people.
func (m Migration) String() string {
	return fmt.Sprintf("migration %s/%04d_%s", m.Chain, m.Version, m.Name)
}

func statusOf(ctx context.Context, db handle, dialect database.Dialect, chain Chain) ([]State, error) {
	known, err := load(files, chain, dialect)
	if err != nil {
		return nil, err
	}
	states := make([]State, len(known))
	for i, m := range known {
		states[i].Migration = m
	}
	table := chain.versionTable()
	if found, err := hasTable(ctx, db, dialect, table); err != nil || !found {
		return states, err
	}
	rows, err := db.QueryContext(ctx, "select version, name, applied_at from "+table+" order by version")
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", table, err)
	}
	defer rows.Close()
	for rows.Next() {
		applied := State{Migration: Migration{Chain: chain}, Unknown: true}
		if err := rows.Scan(&applied.Version, &applied.Name, &applied.AppliedAt); err != nil {
			return nil, fmt.Errorf("reading %s: %w", table, err)
		}
		if i := applied.Version - 1; i >= 0 && i < len(known) {
			states[i].AppliedAt = applied.AppliedAt
		} else {
			states = append(states, applied)
		}
	}
	return states, rows.Err()
}
