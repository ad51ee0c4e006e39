package sqlitesource

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"modernc.org/sqlite"

	"keygate/proxy/auth/keyquery"
	"keygate/shared/database"
)

// file is an open file with the query that finds keys in it.
type file struct {
	db      *sql.DB
	lookup  *sql.Stmt
	columns []string
}

// opened opens the file and checks the query, once both can be done.
func (s *Source) opened(ctx context.Context) (*file, error) {
	if f := s.file.Load(); f != nil {
		return f, nil
	}
	select {
	case s.opening <- struct{}{}:
		defer func() { <-s.opening }()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the file to be opened: %w", ctx.Err())
	}
	if f := s.file.Load(); f != nil {
		return f, nil
	}
	if s.closed {
		return nil, errClosed
	}
	if s.db == nil {
		// The follower has a connection for itself.
		options := database.SQLiteOptions{ReadOnly: true, MaxConns: s.config.Concurrency + 1}
		db, err := database.OpenSQLite(ctx, s.config.Path, options)
		if err != nil {
			return nil, err
		}
		s.db = db
	}
	f, err := s.check(ctx)
	if err != nil {
		return nil, err
	}
	s.file.Store(f)
	return f, nil
}

// check asks the query for a prefix that nobody has.
func (s *Source) check(ctx context.Context) (*file, error) {
	query := s.config.KeyQuery
	if query == "" {
		query = keyquery.Own
	}
	if !strings.Contains(query, "$1") { // SQLite takes a parameter too many without a word
		return nil, fmt.Errorf("%w: it must have one parameter, $1, which is the prefix", keyquery.Err)
	}
	// Nothing but a SELECT can stand in the parentheses.
	text := fmt.Sprintf("select * from (\n%s\n) q limit %d", keyquery.Trim(query), keyquery.MaxRows+1)
	lookup, err := s.db.PrepareContext(ctx, text)
	if err != nil {
		return nil, s.explain(err)
	}
	rows, err := lookup.QueryContext(ctx, "")
	if err != nil {
		return nil, errors.Join(s.explain(err), lookup.Close())
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err == nil {
		err = keyquery.CheckColumns(columns)
	}
	if err != nil {
		return nil, errors.Join(err, lookup.Close())
	}
	return &file{db: s.db, lookup: lookup, columns: columns}, nil
}

// explain makes a complaint about the query a keyquery.Err. A file that is busy or unreadable may be so no longer later.
func (s *Source) explain(err error) error {
	const sqlError = 1 // SQLITE_ERROR
	failure, ok := errors.AsType[*sqlite.Error](err)
	switch {
	case ok && failure.Code() != sqlError, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("checking the key query: %w", err)
	case s.config.KeyQuery == "":
		return fmt.Errorf("%w: keygate's tables are missing; run `proxy migrate up`, "+
			"or name the tables of an API that exists already by --key-query", keyquery.Err)
	}
	return fmt.Errorf("%w: SQLite says: %w", keyquery.Err, err)
}

func scan(rows *sql.Rows, columns []string) ([]any, error) {
	values, pointers := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		pointers[i] = &values[i]
	}
	if err := rows.Scan(pointers...); err != nil {
		return nil, err
	}
	for i, column := range columns {
		if text, ok := values[i].(string); ok && column == keyquery.ExpiresAt {
			values[i] = instant(text)
		}
	}
	return values, nil
}

// What the date functions of SQLite give, and RFC 3339. A time without a zone is UTC, as everywhere in SQLite.
var layouts = []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", time.DateTime, time.DateOnly}

// instant reads a time that the driver left as text, because it does not stand in a column declared as a timestamp. What
// is no time stays text, and is refused as such.
func instant(text string) any {
	for _, layout := range layouts {
		if at, err := time.Parse(layout, text); err == nil {
			return at
		}
	}
	return text
}
