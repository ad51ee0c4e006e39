// Package sqlitesource reads keys from keygate's own tables in a SQLite file, and follows the log of their changes.
package sqlitesource

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"keygate/proxy/auth"
	"keygate/proxy/auth/keyquery"
	"keygate/shared/database"
)

var (
	_ auth.Source    = (*Source)(nil)
	_ auth.Directory = (*Source)(nil)
)

// DefaultReplay is as long as a shared cache keeps, with its defaults, what it was filled with.
const DefaultReplay = 15 * time.Minute

var errClosed = errors.New("the source is closed")

// Config says what to read. Path and Logger must be set.
type Config struct {
	Path string
	Alg  auth.Alg // of keys whose row names none; zero: auth.SHA256
	// Replay is how far back a follower that has just been started reads; see pgsource. Zero: DefaultReplay.
	Replay time.Duration
	Logger *slog.Logger
}

// Source looks keys up. Safe for concurrent use.
type Source struct {
	config Config

	mu     sync.Mutex // held while the file is opened
	db     *sql.DB    // nil until then
	closed bool
}

// New returns a Source that has not opened its file.
func New(config Config) *Source {
	if config.Alg == 0 {
		config.Alg = auth.SHA256
	}
	if config.Replay == 0 {
		config.Replay = DefaultReplay
	}
	return &Source{config: config}
}

// Open proves that the file can be read. A source whose file could not be opened tries again when it is asked.
func (s *Source) Open(ctx context.Context) error {
	_, err := s.open(ctx)
	return err
}

func (s *Source) open(ctx context.Context) (*sql.DB, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if s.db == nil {
		db, err := database.OpenSQLite(ctx, s.config.Path, database.SQLiteOptions{ReadOnly: true})
		if err != nil {
			return nil, err
		}
		s.db = db
	}
	return s.db, nil
}

// Close closes the file. It may be called again.
func (s *Source) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.db != nil {
		s.db.Close()
		s.db = nil
	}
}

// Lookup returns the row of a prefix.
func (s *Source) Lookup(ctx context.Context, prefix string) (keys []auth.Key, err error) {
	if !keyquery.CanExist(prefix) {
		return nil, nil
	}
	db, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, keyquery.Own, prefix)
	if err != nil {
		return nil, fmt.Errorf("asking for a prefix: %w", err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, fmt.Errorf("asking for a prefix: %w", err)
	}
	for rows.Next() {
		key, ok, err := s.key(rows, columns)
		if err != nil {
			return nil, err
		}
		if ok {
			keys = append(keys, key)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("asking for a prefix: %w", err)
	}
	return keys, nil
}

func (s *Source) key(rows *sql.Rows, columns []string) (auth.Key, bool, error) {
	values := make([]any, len(columns))
	pointers := make([]any, len(columns))
	for i := range values {
		pointers[i] = &values[i]
	}
	if err := rows.Scan(pointers...); err != nil {
		return auth.Key{}, false, fmt.Errorf("reading a key: %w", err)
	}
	return keyquery.Key(columns, values, s.config.Alg)
}

// Prefixes returns the prefixes of an organisation.
func (s *Source) Prefixes(ctx context.Context, orgID string) ([]string, error) {
	if auth.CheckOrgID(orgID) != nil {
		return nil, auth.ErrNoOrganization
	}
	db, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx,
		"select k.prefix from organizations o left join api_keys k on k.org_id = o.id where o.id = $1", orgID)
	if err != nil {
		return nil, fmt.Errorf("listing the prefixes of an organisation: %w", err)
	}
	defer rows.Close()
	known := false
	var prefixes []string
	for rows.Next() {
		var prefix sql.NullString // null: an organisation without keys
		if err := rows.Scan(&prefix); err != nil {
			return nil, fmt.Errorf("reading a prefix: %w", err)
		}
		known = true
		if prefix.Valid {
			prefixes = append(prefixes, prefix.String)
		}
	}
	switch err := rows.Err(); {
	case err != nil:
		return nil, fmt.Errorf("listing the prefixes of an organisation: %w", err)
	case !known:
		return nil, auth.ErrNoOrganization
	}
	return prefixes, nil
}

// HasChangeLog says whether there is a log to follow.
func (s *Source) HasChangeLog(ctx context.Context) (found bool, err error) {
	db, err := s.open(ctx)
	if err != nil {
		return false, err
	}
	err = db.QueryRowContext(ctx, "select exists (select 1 from sqlite_schema where name = 'keygate_changes')").Scan(&found)
	if err != nil {
		return false, fmt.Errorf("looking for the change log: %w", err)
	}
	return found, nil
}
