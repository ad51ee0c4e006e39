package migrations

import (
	"context"
	"fmt"
	"slices"

	"keygate/shared/database"
)

// Up applies every pending migration of the chains, in the order given, and returns those it applied, also with an
// error. It stops before changing anything if a chain cannot be applied: see TableError, ErrNewer and ErrNeeds. Several
// runs at once, from several machines even, apply each migration once.
func Up(ctx context.Context, db *database.DB, chains ...Chain) ([]Migration, error) {
	plan, err := pending(ctx, db, chains)
	if err != nil {
		return nil, err
	}
	var done []Migration
	for _, m := range plan {
		applied, err := step(ctx, db, m, true)
		if err != nil {
			return done, fmt.Errorf("applying %s: %w", m, err)
		}
		if applied {
			done = append(done, m)
		}
	}
	return done, nil
}

// Down undoes the newest applied migration of each chain, the last chain first, and returns those it undid.
func Down(ctx context.Context, db *database.DB, chains ...Chain) ([]Migration, error) {
	var done []Migration
	for _, chain := range slices.Backward(chains) {
		states, err := statusOf(ctx, db, db.Dialect, chain)
		if err != nil {
			return done, err
		}
		states = slices.DeleteFunc(states, func(s State) bool { return s.AppliedAt.IsZero() })
		if len(states) == 0 {
			continue
		}
		newest := states[len(states)-1]
		if newest.Unknown {
			return done, newer(newest.Migration)
		}
		undone, err := step(ctx, db, newest.Migration, false)
		if err != nil {
			return done, fmt.Errorf("undoing %s: %w", newest.Migration, err)
		}
		if undone {
			done = append(done, newest.Migration)
		}
	}
	return done, nil
}

// pending lists what Up has to apply, after proving that it may. It holds the lock, because between two looks another
// run could create a table that would then seem to be somebody else's.
func pending(ctx context.Context, db *database.DB, chains []Chain) ([]Migration, error) {
	tx, err := beginAlone(ctx, db)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	var plan []Migration
	for _, chain := range chains {
		states, err := statusOf(ctx, tx, db.Dialect, chain)
		if err != nil {
			return nil, err
		}
		for _, state := range states {
			if state.Unknown {
				return nil, newer(state.Migration)
			}
			if state.AppliedAt.IsZero() {
				plan = append(plan, state.Migration)
			}
		}
	}
	if slices.Contains(chains, Auth) && !slices.Contains(chains, Changelog) {
		if err := check(ctx, tx, db.Dialect, Changelog); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNeeds, err)
		}
	}
	for _, m := range plan {
		if err := checkTables(ctx, tx, db.Dialect, m); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

// step takes a migration up or down in a transaction that excludes all other runs. False: another run was faster.
func step(ctx context.Context, db *database.DB, m Migration, up bool) (bool, error) {
	tx, err := beginAlone(ctx, db)
	if err != nil {
		return false, err
	}
	defer tx.Rollback()
	if err := makeVersionTable(ctx, tx, db.Dialect, m.Chain); err != nil {
		return false, err
	}
	var applied bool
	find := "select exists (select 1 from " + m.Chain.versionTable() + " where version = $1)"
	if err := tx.QueryRowContext(ctx, find, m.Version).Scan(&applied); err != nil {
		return false, fmt.Errorf("reading the version: %w", err)
	}
	if applied == up {
		return false, nil
	}
	if up {
		err = apply(ctx, tx, db.Dialect, m)
	} else {
		err = undo(ctx, tx, m)
	}
	if err != nil {
		return false, err
	}
	return true, tx.Commit()
}

func apply(ctx context.Context, tx handle, dialect database.Dialect, m Migration) error {
	if err := checkTables(ctx, tx, dialect, m); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, m.up); err != nil {
		return err
	}
	record := "insert into " + m.Chain.versionTable() + " (version, name) values ($1, $2)"
	_, err := tx.ExecContext(ctx, record, m.Version, m.Name)
	return err
}

// undo leaves no version table behind when nothing of the chain is left.
func undo(ctx context.Context, tx handle, m Migration) error {
	if _, err := tx.ExecContext(ctx, m.down); err != nil {
		return err
	}
	if m.Version == 1 {
		_, err := tx.ExecContext(ctx, "drop table "+m.Chain.versionTable())
		return err
	}
	_, err := tx.ExecContext(ctx, "delete from "+m.Chain.versionTable()+" where version = $1", m.Version)
	return err
}
