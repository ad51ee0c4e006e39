package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"keygate/shared/database"
)

// handle is a database or a transaction.
type handle interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// TableError reports that a migration would create a table that is there already and that keygate did not make.
type TableError struct {
	Chain Chain
	Table string
}

func (e *TableError) Error() string {
	advice := "give keygate a database of its own, or a schema of its own (…?search_path=keygate)"
	if e.Chain == Auth {
		advice = "to serve the keys of an API that exists already use --key-query, which needs no table of ours; else " + advice
	}
	return fmt.Sprintf("there is already a table %s, which keygate did not create; nothing was changed: %s", e.Table, advice)
}

// errNoSchema is what PostgreSQL means by "no schema has been selected to create in".
var errNoSchema = errors.New("no schema of the search_path exists: create it first (create schema …)")

// checkTables reports a *TableError if a table that m creates exists already. In PostgreSQL only the schema that m would
// create it in counts, so that a search_path of our own keeps us apart from anybody's tables.
func checkTables(ctx context.Context, db handle, dialect database.Dialect, m Migration) error {
	exists := "select exists (select 1 from sqlite_schema where lower(name) = $1)"
	if dialect == database.Postgres {
		exists = "select exists (select 1 from pg_class where relname = $1 and relnamespace = current_schema()::regnamespace)"
		var schema sql.NullString
		if err := db.QueryRowContext(ctx, "select current_schema()").Scan(&schema); err != nil {
			return fmt.Errorf("finding the schema: %w", err)
		}
		if !schema.Valid {
			return errNoSchema
		}
	}
	for _, table := range m.tables() {
		var found bool
		if err := db.QueryRowContext(ctx, exists, table).Scan(&found); err != nil {
			return fmt.Errorf("looking for the table %s: %w", table, err)
		}
		if found {
			return &TableError{Chain: m.Chain, Table: table}
		}
	}
	return nil
}

// The key of an advisory lock is any number that no other program uses: "keygate" in ASCII.
const lockKey = 0x6b657967617465

// beginAlone begins a transaction that keeps other runs out until it ends. One of SQLite holds the write lock from its
// beginning; one of PostgreSQL must see what was committed while it waited, so it is never repeatable read.
func beginAlone(ctx context.Context, db *database.DB) (*sql.Tx, error) {
	if db.Dialect == database.SQLite {
		return db.BeginTx(ctx, nil)
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, "select pg_advisory_xact_lock($1)", lockKey); err != nil {
		return nil, errors.Join(fmt.Errorf("waiting for other migrations: %w", err), tx.Rollback())
	}
	return tx, nil
}

func makeVersionTable(ctx context.Context, tx handle, dialect database.Dialect, chain Chain) error {
	timestamp := "timestamp" // the driver reads columns of this type as times
	if dialect == database.Postgres {
		timestamp = "timestamptz"
	}
	create := fmt.Sprintf("create table if not exists %s (version integer primary key, name text not null, "+
		"applied_at %s not null default current_timestamp)", chain.versionTable(), timestamp)
	if _, err := tx.ExecContext(ctx, create); err != nil {
		return fmt.Errorf("creating the version table: %w", err)
	}
	return nil
}

// hasTable says whether a table can be seen under its bare name.
func hasTable(ctx context.Context, db handle, dialect database.Dialect, table string) (found bool, err error) {
	query := "select exists (select 1 from sqlite_schema where name = $1)"
	if dialect == database.Postgres {
		query = "select to_regclass($1) is not null"
	}
	if err := db.QueryRowContext(ctx, query, table).Scan(&found); err != nil {
		return false, fmt.Errorf("looking for the table %s: %w", table, err)
	}
	return found, nil
}
