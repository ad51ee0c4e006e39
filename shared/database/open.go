package database

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// Somebody waits at the terminal: a host that swallows packets must not look like a command that works.
const connectTimeout = 5 * time.Second

// DB is an open database that knows its dialect. In both, placeholders are $1, $2 …
type DB struct {
	*sql.DB
	Dialect Dialect
}

// Open opens the database of u for a one-shot command that reads and writes, and proves that it answers.
func Open(ctx context.Context, u URL) (*DB, error) {
	if u.Dialect() == SQLite {
		db, err := OpenSQLite(ctx, u.Path(), SQLiteOptions{})
		if err != nil {
			return nil, err
		}
		return &DB{DB: db, Dialect: SQLite}, nil
	}
	db, err := OpenPostgres(u)
	if err != nil {
		return nil, err
	}
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("reaching %s: %w", u, err)
	}
	return &DB{DB: db, Dialect: Postgres}, nil
}

// OpenPostgres returns a pool of connections to the primary for one-shot commands. Nothing is dialled yet.
func OpenPostgres(u URL) (*sql.DB, error) {
	config, err := pgx.ParseConfig(u.ConnString())
	if err != nil {
		return nil, ErrURL
	}
	ToPrimary(&config.Config)
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	return stdlib.OpenDB(*config), nil
}
