// Package pgsource reads keys from PostgreSQL and follows the log of their changes.
//
// A Source asks the primary for the rows of a prefix, in keygate's own tables or by the operator's query. It writes
// nothing: a role that may only select is enough. Its Follower listens on one connection of its own, which bypasses a
// pooler, and reads the table keygate_changes whenever it is woken and once a second.
package pgsource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"keygate/proxy/auth"
	"keygate/shared/coalesce"
	"keygate/shared/database"
)

var _ auth.Source = (*Source)(nil)
var _ auth.Directory = (*Source)(nil)

// DefaultConcurrency is how many connections look keys up at a time.
const DefaultConcurrency = 16

// DefaultReplay is as long as the shared cache keeps, with its defaults, what it was filled with.
const DefaultReplay = 15 * time.Minute

// A look-up is given up after half a second; connecting goes on behind it for the next one, but not for ever.
const connectTimeout = 5 * time.Second

// warmConns are kept open. On a busy machine a connection took longer than a look-up may wait, and the first key after a
// quiet time was answered by 503.
const warmConns = 2

// A connection that has been idle for a second is asked whether it still answers. One that takes longer than a look-up may
// wait is given up.
const pingTimeout = 500 * time.Millisecond

// errForeign reports a question that only keygate's own tables can answer.
var errForeign = errors.New("with a key query the prefixes of an organisation are not known")

// Config says what to read and how. Only URL, Logger and Metrics must be set.
type Config struct {
	URL         string   // postgres://…; several hosts are tried until one is the primary
	ListenURL   string   // the same database without a pooler between; empty: URL
	KeyQuery    string   // see package keyquery; empty: keygate's own tables
	Alg         auth.Alg // of keys whose row names none; zero: auth.SHA256
	Concurrency int      // zero: DefaultConcurrency
	// Replay is how far back a follower that has just been started reads: as long as the shared cache may hold what was
	// filled while no proxy was listening. Zero: DefaultReplay; at most the hour that the log reaches back.
	Replay  time.Duration
	Logger  *slog.Logger
	Metrics *Metrics
}

// Source looks keys up. Safe for concurrent use.
type Source struct {
	config Config
	pool   *pgxpool.Pool
	lender *lender // of the pool's connections, to look-ups
	asking *coalesce.Calls[*question]
	listen *pgx.ConnConfig
	lookup atomic.Pointer[lookup] // nil until the query has been checked
}

// New checks the configuration. It does not connect: the pool dials when it is first asked.
func New(config Config) (*Source, error) {
	if config.ListenURL == "" {
		config.ListenURL = config.URL
	}
	if config.Alg == 0 {
		config.Alg = auth.SHA256
	}
	if config.Concurrency == 0 {
		config.Concurrency = DefaultConcurrency
	}
	if config.Replay == 0 {
		config.Replay = DefaultReplay
	}
	// The errors of pgx quote the URL.
	pooled, err := pgxpool.ParseConfig(config.URL)
	if err != nil {
		return nil, fmt.Errorf("reading the database URL: %w", database.ErrURL)
	}
	listen, err := pgx.ParseConfig(config.ListenURL)
	if err != nil {
		return nil, fmt.Errorf("reading the URL for listening: %w", database.ErrURL)
	}
	for _, one := range []*pgx.ConnConfig{pooled.ConnConfig, listen} {
		database.ToPrimary(&one.Config)
		if one.ConnectTimeout == 0 {
			one.ConnectTimeout = connectTimeout
		}
	}
	if listen.RuntimeParams["application_name"] == "" {
		listen.RuntimeParams["application_name"] = "keygate-changelog" // for pg_stat_activity
	}
	pooled.MaxConns, pooled.MinIdleConns = int32(config.Concurrency), 0
	pooled.MinConns = min(warmConns, pooled.MaxConns)
	pooled.PingTimeout = pingTimeout
	pool, err := pgxpool.NewWithConfig(context.Background(), pooled)
	if err != nil {
		return nil, fmt.Errorf("making the pool: %w", err)
	}
	s := &Source{config: config, pool: pool, lender: newLender(pool), listen: listen}
	s.asking = coalesce.New(s.ask, coalesce.Over(config.Concurrency, tripQuestions))
	return s, nil
}

// Open connects and checks the query. An error that is keyquery.Err is the operator's to mend; after any other the
// source may be used all the same, and checks as soon as the database answers.
func (s *Source) Open(ctx context.Context) error {
	conn, err := s.lender.borrow(ctx)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer s.lender.giveBack(conn)
	_, err = s.prepared(ctx, conn.Conn())
	return err
}

// Close ends all connections, and waits for look-ups on their way. It may be called again.
func (s *Source) Close() {
	s.lender.close()
	s.asking.Close()
}

// Prefixes returns the prefixes of an organisation in keygate's own tables.
func (s *Source) Prefixes(ctx context.Context, orgID string) ([]string, error) {
	if s.config.KeyQuery != "" {
		return nil, errForeign
	}
	if auth.CheckOrgID(orgID) != nil {
		return nil, auth.ErrNoOrganization
	}
	rows, _ := s.pool.Query(ctx, // its error is that of CollectRows
		"select k.prefix from organizations o left join api_keys k on k.org_id = o.id where o.id = $1", orgID)
	found, err := pgx.CollectRows(rows, pgx.RowTo[*string])
	if err != nil {
		return nil, fmt.Errorf("listing the prefixes of an organisation: %w", err)
	}
	if len(found) == 0 {
		return nil, auth.ErrNoOrganization
	}
	var prefixes []string
	for _, prefix := range found {
		if prefix != nil { // null: an organisation without keys
			prefixes = append(prefixes, *prefix)
		}
	}
	return prefixes, nil
}

// HasChangeLog says whether there is a log to follow: always with keygate's own tables, and with those of another
// program if the chain changelog has been applied to the same database.
func (s *Source) HasChangeLog(ctx context.Context) (bool, error) {
	var found bool
	if err := s.pool.QueryRow(ctx, "select to_regclass('keygate_changes') is not null").Scan(&found); err != nil {
		return false, fmt.Errorf("looking for the change log: %w", err)
	}
	return found, nil
}

// Pool says how the connections are used at the moment.
type Pool struct {
	Max, Total, Idle, Acquired int
}

// Pool returns a snapshot.
func (s *Source) Pool() Pool {
	stat := s.pool.Stat()
	return Pool{
		Max: int(stat.MaxConns()), Total: int(stat.TotalConns()),
		Idle: int(stat.IdleConns()), Acquired: int(stat.AcquiredConns()),
	}
}
