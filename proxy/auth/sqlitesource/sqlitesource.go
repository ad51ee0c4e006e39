// Package sqlitesource reads keys from a SQLite file and follows the log of their changes.
//
// A Source only reads: its connections cannot write, and it does not create the file. Its Follower watches the counter
// that SQLite keeps of other connections' commits (PRAGMA data_version), and reads the table keygate_changes when that
// has moved.
package sqlitesource

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"keygate/proxy/auth"
	"keygate/proxy/auth/keyquery"
)

var (
	_ auth.Source    = (*Source)(nil)
	_ auth.Directory = (*Source)(nil)
)

// DefaultConcurrency is how many connections look keys up at a time. A look-up is work for a processor, not a wait.
const DefaultConcurrency = 4

// DefaultReplay is as long as a shared cache keeps, with its defaults, what it was filled with.
const DefaultReplay = 15 * time.Minute

var (
	errClosed = errors.New("the source of keys is closed")
	// errForeign reports a question that only keygate's own tables can answer.
	errForeign = errors.New("with a key query the prefixes of an organisation are not known")
)

// Config says what to read and how. Path and Logger must be set.
type Config struct {
	Path        string
	KeyQuery    string   // see package keyquery; empty: keygate's own tables
	Alg         auth.Alg // of keys whose row names none; zero: auth.SHA256
	Concurrency int      // zero: DefaultConcurrency
	// Replay is how far back a follower that has just been started reads: as long as a shared cache may hold what was
	// filled while no proxy was listening. Zero: DefaultReplay; at most the hour that the log reaches back.
	Replay  time.Duration
	Logger  *slog.Logger
	Metrics *Metrics // nil: nothing is counted
}

// Source looks keys up. Safe for concurrent use.
type Source struct {
	config Config
	file   atomic.Pointer[file] // nil until the file is open and the query has been checked

	opening chan struct{} // holds a token while the fields below are used
	db      *sql.DB       // nil until the file was opened
	closed  bool
}

// New returns a Source that has not opened its file.
func New(config Config) *Source {
	if config.Alg == 0 {
		config.Alg = auth.SHA256
	}
	if config.Concurrency == 0 {
		config.Concurrency = DefaultConcurrency
	}
	if config.Replay == 0 {
		config.Replay = DefaultReplay
	}
	return &Source{config: config, opening: make(chan struct{}, 1)}
}

// Open opens the file and checks the query. An error that is keyquery.Err is the operator's to mend; after any other the
// source may be used all the same, and opens the file once it is there.
func (s *Source) Open(ctx context.Context) error {
	_, err := s.opened(ctx)
	return err
}

// Close closes the file. It may be called again.
func (s *Source) Close() {
	s.opening <- struct{}{}
	defer func() { <-s.opening }()
	s.closed = true
	if s.db != nil {
		s.db.Close() // what it reads it has not changed
	}
}

// Lookup returns the rows of a prefix.
func (s *Source) Lookup(ctx context.Context, prefix string) ([]auth.Key, error) {
	if !keyquery.CanExist(prefix) {
		return nil, nil
	}
	f, err := s.opened(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := f.lookup.QueryContext(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("asking for a prefix: %w", err)
	}
	defer rows.Close()
	return keyquery.Keys(rows, f.columns, func() ([]any, error) { return scan(rows, f.columns) }, s.config.Alg)
}

// Prefixes returns the prefixes of an organisation in keygate's own tables.
func (s *Source) Prefixes(ctx context.Context, orgID string) ([]string, error) {
	if s.config.KeyQuery != "" {
		return nil, errForeign
	}
	if auth.CheckOrgID(orgID) != nil {
		return nil, auth.ErrNoOrganization
	}
	f, err := s.opened(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := f.db.QueryContext(ctx,
		"select k.prefix from organizations o left join api_keys k on k.org_id = o.id where o.id = $1", orgID)
	if err != nil {
		return nil, fmt.Errorf("listing the prefixes of an organisation: %w", err)
	}
	defer rows.Close()
	known := false
	var prefixes []string
	for ; rows.Next(); known = true {
		var prefix sql.NullString // null: an organisation without keys
		if err := rows.Scan(&prefix); err != nil {
			return nil, fmt.Errorf("reading a prefix: %w", err)
		}
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

// HasChangeLog says whether there is a log to follow: always with keygate's own tables.
func (s *Source) HasChangeLog(ctx context.Context) (found bool, err error) {
	f, err := s.opened(ctx)
	if err != nil {
		return false, err
	}
	query := "select exists (select 1 from sqlite_schema where type = 'table' and name = 'keygate_changes')"
	if err := f.db.QueryRowContext(ctx, query).Scan(&found); err != nil {
		return false, fmt.Errorf("looking for the change log: %w", err)
	}
	return found, nil
}
