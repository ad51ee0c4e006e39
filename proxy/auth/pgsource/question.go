package pgsource

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"keygate/proxy/auth"
	"keygate/proxy/auth/keyquery"
)

// More than look up at a time by default, so that all who wait go together.
const tripQuestions = 32

// question is one look-up.
type question struct {
	prefix   string
	deadline time.Time // zero: none
	keys     []auth.Key
	err      error
}

// Lookup returns the rows of a prefix.
func (s *Source) Lookup(ctx context.Context, prefix string) ([]auth.Key, error) {
	if !keyquery.CanExist(prefix) {
		return nil, nil
	}
	q := &question{prefix: prefix}
	q.deadline, _ = ctx.Deadline()
	if err := s.asking.Do(ctx, q); err != nil {
		return nil, fmt.Errorf("asking for a prefix: %w", err)
	}
	return q.keys, q.err
}

// ask has questions answered over one connection, until the last of them has no time any more. If the server has ended that
// connection (a restart, a fail-over), all that were made before are as good as ended, and a new one is tried: once, because
// whoever cannot be reached is no matter of connections.
func (s *Source) ask(all []*question) {
	ctx, cancel := within(s.lender.base, all)
	defer cancel()
	if s.askOver(ctx, all) && ctx.Err() == nil {
		s.pool.Reset()
		s.askOver(ctx, all)
	}
}

func within(ctx context.Context, all []*question) (context.Context, context.CancelFunc) {
	var last time.Time
	for _, q := range all {
		if q.deadline.IsZero() {
			return context.WithCancel(ctx)
		}
		if q.deadline.After(last) {
			last = q.deadline
		}
	}
	return context.WithDeadline(ctx, last)
}

// askOver says whether the connection ended instead of giving answers.
func (s *Source) askOver(ctx context.Context, all []*question) (lost bool) {
	conn, err := s.lender.borrow(ctx)
	if err != nil {
		fail(all, fmt.Errorf("connecting: %w", err))
		return false
	}
	defer s.lender.giveBack(conn)
	prepared, err := s.prepared(ctx, conn.Conn())
	if err != nil {
		fail(all, err)
		return conn.Conn().IsClosed()
	}
	if len(all) > 1 && s.askTogether(ctx, conn.Conn(), prepared, all) {
		return conn.Conn().IsClosed()
	}
	for _, q := range all {
		rows, err := conn.Query(ctx, prepared.text, q.prefix)
		if err != nil {
			q.keys, q.err = nil, fmt.Errorf("asking for a prefix: %w", err)
			continue
		}
		q.keys, q.err = s.read(rows, prepared)
	}
	return conn.Conn().IsClosed()
}

func fail(all []*question, err error) {
	for _, q := range all {
		q.keys, q.err = nil, err
	}
}

// askTogether sends all questions at once. It returns false if the server refuses to answer one of them, and the others
// with it.
func (s *Source) askTogether(ctx context.Context, conn *pgx.Conn, prepared *lookup, all []*question) bool {
	batch := &pgx.Batch{}
	for _, q := range all {
		batch.Queue(prepared.text, q.prefix)
	}
	answers := conn.SendBatch(ctx, batch)
	defer answers.Close() // its error is that of a question
	for _, q := range all {
		rows, err := answers.Query()
		if err == nil {
			q.keys, err = s.read(rows, prepared)
		}
		if q.err = err; refused(err) {
			return false
		}
	}
	return true
}

func refused(err error) bool {
	_, refused := errors.AsType[*pgconn.PgError](err)
	return refused
}

// read reads the rows of one prefix.
func (s *Source) read(rows pgx.Rows, prepared *lookup) ([]auth.Key, error) {
	defer rows.Close()
	return keyquery.Keys(rows, prepared.columns, func() ([]any, error) {
		values, err := rows.Values()
		finite(values)
		return values, err
	}, s.config.Alg)
}

// finite replaces the infinite times that PostgreSQL knows: later than ever is never, earlier than ever is long ago.
func finite(values []any) {
	for i, value := range values {
		switch value {
		case pgtype.Infinity:
			values[i] = nil
		case pgtype.NegativeInfinity:
			values[i] = time.Unix(0, 0)
		}
	}
}
