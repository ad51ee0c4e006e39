// Package pgsink stores events in PostgreSQL: one statement a batch, on one connection to a sink.
//
// The connection is made when it is first needed and again after it was lost. The URL may name several hosts; a standby
// is refused. docs/writer.md has the grants that its role needs.
//
// PgBouncer works in transaction mode. From version 1.21 on, and with max_prepared_statements above 0, it follows
// prepared statements; behind another one the sink does without, from the first failure on or with
// default_query_exec_mode=exec in the URL, and each batch is parsed and planned anew: 0.2 ms on the machine measured.
// statement_timeout has to be set on the role there.
package pgsink

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"keygate/shared/database"
	"keygate/shared/socket"
	"keygate/shared/uuid7"
	"keygate/writer/commit"
	"keygate/writer/event"
)

// DefaultStatementTimeout is after how long the server gives a statement up, unless Config or the URL says otherwise.
const DefaultStatementTimeout = 5 * time.Second

// Config says which database, and how long a statement may take there.
type Config struct {
	URL              database.URL
	StatementTimeout time.Duration // 0: DefaultStatementTimeout
	Logger           *slog.Logger
}

// Sink is a commit.Sink. It owns at most one connection.
type Sink struct {
	config   *pgconn.Config
	prepares bool // else each statement is sent whole
	log      *slog.Logger

	conn         *pgconn.PgConn
	prepared     [len(statements)]*pgconn.StatementDescription // on conn, if prepares
	closing      []<-chan struct{}                             // of connections that pgx is still closing
	warned       string                                        // of settings, so as not to repeat it at each connect
	unreplicated bool                                          // the server has said so of the current statement

	// Memory that calls use again.
	parameters parameters
	inserted   []uuid7.ID
	stored     []bool
}

var _ commit.Sink = (*Sink)(nil)

// New returns a Sink. It does no I/O but for the certificates that the URL names.
func New(config Config) (*Sink, error) {
	parsed, err := pgx.ParseConfig(config.URL.ConnString())
	if err != nil {
		return nil, database.ErrURL
	}
	s := &Sink{
		config:   &parsed.Config,
		prepares: parsed.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement,
		log:      cmp.Or(config.Logger, slog.Default()),
	}
	database.ToPrimary(s.config)
	// A statement takes longer to write than the scheduler's monitor sleeps: a tenth of the writer's CPU went into waking it.
	s.config.DialFunc = socket.Dial(s.config.DialFunc)
	s.config.ConnectTimeout = cmp.Or(s.config.ConnectTimeout, connectTimeout)
	s.config.OnNotice = s.notice
	timeout := cmp.Or(config.StatementTimeout, DefaultStatementTimeout)
	for name, value := range map[string]string{
		"application_name": "keygate-writer",
		statementTimeout:   strconv.FormatInt(timeout.Milliseconds(), 10),
	} {
		s.config.RuntimeParams[name] = cmp.Or(s.config.RuntimeParams[name], value)
	}
	return s, nil
}

// Insert implements commit.Sink.
func (s *Sink) Insert(ctx context.Context, batch []*event.Event) ([]bool, error) {
	s.inserted = s.inserted[:0]
	err := s.run(ctx, insert, s.parameters.forInsert(batch), func(row [][]byte) {
		s.inserted = append(s.inserted, idOf(row[0]))
	})
	if err != nil {
		return nil, err
	}
	s.stored = slices.Grow(s.stored[:0], len(batch))[:len(batch)]
	if len(s.inserted) == len(batch) {
		for i := range s.stored {
			s.stored[i] = true
		}
		return s.stored, nil
	}
	inserted := make(map[uuid7.ID]struct{}, len(s.inserted))
	for _, id := range s.inserted {
		inserted[id] = struct{}{}
	}
	for i, e := range batch {
		_, s.stored[i] = inserted[e.ID]
	}
	return s.stored, nil
}

// Find implements commit.Sink.
func (s *Sink) Find(ctx context.Context, batch []*event.Event) ([]*commit.Stored, error) {
	found := make([]*commit.Stored, len(batch))
	err := s.run(ctx, find, s.parameters.forFind(batch), func(row [][]byte) {
		found[binary.BigEndian.Uint64(row[0])-1] = &commit.Stored{
			ID:      idOf(row[1]),
			Type:    string(row[2]),
			DedupID: string(row[3]),
			Payload: bytes.Clone(row[4]),
		}
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// closeTimeout is for what pgx is still doing in the background about connections that broke. It gives up by itself after
// 15 seconds; a server that does not answer should not keep a program from its exit for as long.
const closeTimeout = time.Second

// Close ends the connection. The sink is not to be used again.
func (s *Sink) Close() {
	s.drop()
	expired := time.NewTimer(closeTimeout)
	defer expired.Stop()
	for _, closed := range s.closing {
		select {
		case <-closed:
		case <-expired.C:
			return
		}
	}
	s.closing = nil
}

// run executes a statement and returns once the server is ready for the next, which is after the commit.
func (s *Sink) run(ctx context.Context, number int, parameters [][]byte, each func(row [][]byte)) error {
	if err := s.connect(ctx); err != nil {
		s.stopPreparing(err)
		return &commit.Failure{Cause: commit.Unavailable, Err: err}
	}
	s.unreplicated = false
	var result *pgconn.ResultReader
	if s.prepares {
		result = s.conn.ExecStatement(ctx, s.prepared[number], parameters, binaryFormat, binaryFormat)
	} else {
		result = s.conn.ExecParams(ctx, statements[number], parameters, nil, binaryFormat, binaryFormat)
	}
	for result.NextRow() {
		each(result.Values())
	}
	_, err := result.Close()
	if err == nil && s.unreplicated {
		err = errUnreplicated
	}
	if err == nil {
		return nil
	}
	s.stopPreparing(err)
	failure := classify(err)
	if failure.Cause == commit.Unavailable || failure.Cause == commit.Uncertain {
		s.drop() // a server that was demoted, say, keeps its connections
	}
	return failure
}

var binaryFormat = []int16{pgx.BinaryFormatCode}

func idOf(value []byte) (id uuid7.ID) {
	copy(id[:], value)
	return id
}
