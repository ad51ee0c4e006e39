// Package sqlitesink stores events in a SQLite file, for one machine.
//
// The file is opened when it is first needed. Other connections, of this process and of others, may write to it too:
// a batch waits for them as long as its ctx and the file's busy timeout let it.
package sqlitesink

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"keygate/shared/database"
	"keygate/shared/uuid7"
	"keygate/writer/commit"
	"keygate/writer/event"
)

// The statements of a connection. Rows are inserted one by one: lists of 32 in one statement saved at most a tenth of
// the 20 to 28 µs of CPU that an event costs (two cores, 2026).
const (
	begin = iota
	insertEvent
	insertDelivery
	find
	end
	undo
)

var statements = [...]string{
	begin: `BEGIN IMMEDIATE`,
	insertEvent: `INSERT INTO events (id, org_id, type, dedup_id, payload, created_at)
		VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
	insertDelivery: `INSERT INTO event_deliveries (id, org_id, event_id, status, attempts, next_attempt_at, created_at)
		VALUES (?1, ?2, ?1, 'pending', 0, ?3, ?3)`,
	find: `SELECT 1 AS rank, id, type, dedup_id, payload FROM events WHERE id = ?1 AND org_id = ?2
		UNION ALL
		SELECT 2 AS rank, id, type, dedup_id, payload FROM events WHERE org_id = ?2 AND dedup_id = ?3
		ORDER BY rank LIMIT 1`,
	end:  `COMMIT`,
	undo: `ROLLBACK`,
}

// timeFormat is how times are stored: as text that sorts.
const timeFormat = "2006-01-02T15:04:05.000Z"

// Sink is a commit.Sink. It owns at most one connection.
type Sink struct {
	path     string
	db       *sql.DB   // a pool of one; nil while not open
	conn     *sql.Conn // held, so that transactions are its own
	prepared [len(statements)]*sql.Stmt
	stored   []bool // used again by each call
}

var _ commit.Sink = (*Sink)(nil)

// New returns a Sink on the file at path. It does no I/O.
func New(path string) *Sink { return &Sink{path: path} }

// Insert implements commit.Sink.
func (s *Sink) Insert(ctx context.Context, batch []*event.Event) ([]bool, error) {
	if err := s.open(ctx); err != nil {
		return nil, s.failed(err)
	}
	if _, err := s.prepared[begin].ExecContext(ctx); err != nil {
		return nil, s.failed(err)
	}
	stored, err := s.insert(ctx, batch)
	if err != nil {
		return nil, s.failed(err)
	}
	if _, err := s.prepared[end].Exec(); err != nil {
		return nil, s.failed(commitError{err})
	}
	return stored, nil
}

// insert runs inside a transaction. Its statements have no ctx of their own, because each would cost a goroutine.
func (s *Sink) insert(ctx context.Context, batch []*event.Event) ([]bool, error) {
	s.stored = s.stored[:0]
	for _, e := range batch {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		id, at := e.ID.String(), e.CreatedAt().Format(timeFormat)
		dedupID := sql.NullString{String: e.DedupID, Valid: e.DedupID != ""}
		result, err := s.prepared[insertEvent].Exec(id, e.OrgID, e.Type, dedupID, string(e.Payload), at)
		if err != nil {
			return nil, err
		}
		rows, err := result.RowsAffected()
		if err != nil {
			return nil, err
		}
		if rows == 1 {
			if _, err := s.prepared[insertDelivery].Exec(id, e.OrgID, at); err != nil {
				return nil, err
			}
		}
		s.stored = append(s.stored, rows == 1)
	}
	return s.stored, nil
}

// Find implements commit.Sink.
func (s *Sink) Find(ctx context.Context, batch []*event.Event) ([]*commit.Stored, error) {
	if err := s.open(ctx); err != nil {
		return nil, s.failed(err)
	}
	found := make([]*commit.Stored, len(batch))
	for i, e := range batch {
		stored, err := s.findOne(ctx, e)
		if err != nil {
			return nil, s.failed(err)
		}
		found[i] = stored
	}
	return found, nil
}

func (s *Sink) findOne(ctx context.Context, e *event.Event) (*commit.Stored, error) {
	var (
		rank    int
		id      []byte
		dedupID sql.NullString
		stored  commit.Stored
	)
	row := s.prepared[find].QueryRowContext(ctx, e.ID.String(), e.OrgID, e.DedupID)
	err := row.Scan(&rank, &id, &stored.Type, &dedupID, &stored.Payload)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	stored.DedupID = dedupID.String
	if stored.ID, err = uuid7.Parse(id); err != nil {
		return nil, fmt.Errorf("reading the id of an event: %w", err)
	}
	return &stored, nil
}

// Close closes the file. The sink is not to be used again.
func (s *Sink) Close() error {
	if s.db == nil {
		return nil
	}
	for _, statement := range s.prepared {
		if statement != nil {
			statement.Close()
		}
	}
	s.prepared = [len(statements)]*sql.Stmt{}
	err := errors.Join(s.conn.Close(), s.db.Close())
	s.db, s.conn = nil, nil
	return err
}

func (s *Sink) open(ctx context.Context) error {
	if s.db != nil {
		return nil
	}
	db, err := database.OpenSQLite(ctx, s.path, database.SQLiteOptions{MaxConns: 1})
	if err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		db.Close()
		return err
	}
	s.db, s.conn = db, conn
	for number, text := range statements {
		if s.prepared[number], err = conn.PrepareContext(ctx, text); err != nil {
			return fmt.Errorf("preparing the statements: %w", err)
		}
	}
	return nil
}
