package pgsource

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrDeaf reports a connection that accepts LISTEN and hears nothing.
var ErrDeaf = errors.New("notifications do not arrive: --listen-database-url must lead to the same database as " +
	"--database-url, and to PostgreSQL itself, not to a pooler in transaction mode")

const (
	// What the triggers notify.
	channel = "keygate_changes"
	// A read takes under a millisecond. One that takes two seconds is a link that is half-open.
	readTimeout = 2 * time.Second
	// What was logged while nobody listened may be a hundred thousand rows, from a server that has just come back.
	resumeTimeout = 10 * time.Second
	// A notification takes a millisecond.
	proofTimeout = 2 * time.Second
	// Closing says goodbye to the server, which may be gone.
	closeTimeout = time.Second
)

// line is a connection that listens. One goroutine uses it.
type line struct {
	*pgx.Conn
	woken  bool // the triggers have notified since this was last reset
	proved bool // the channel of the proof was heard
}

// ProveListening makes the connection of a follower and returns ErrDeaf unless it hears what the pool notifies.
func (s *Source) ProveListening(ctx context.Context) error {
	l, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	return s.prove(ctx, l)
}

// dial connects and listens.
func (s *Source) dial(ctx context.Context) (*line, error) {
	l := &line{}
	config := s.listen.Copy()
	config.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) {
		if n.Channel == channel {
			l.woken = true
		} else {
			l.proved = true
		}
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connecting to listen: %w", err)
	}
	l.Conn = conn
	if err := l.execute(ctx, "listen "+channel); err != nil {
		l.close()
		return nil, fmt.Errorf("listening: %w", err)
	}
	return l, nil
}

// prove listens on a channel that nobody else knows and notifies it through the pool. The line must be idle meanwhile,
// for a pooler then gives what is behind it to others. If the pool cannot be asked nothing is proved, which is no error.
func (s *Source) prove(ctx context.Context, l *line) error {
	probe := "keygate_probe_" + strings.ToLower(rand.Text())
	if err := l.execute(ctx, "listen "+probe); err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	waiting, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	if _, err := s.pool.Exec(waiting, "select pg_notify($1, '')", probe); err != nil {
		return ctx.Err()
	}
	for !l.proved {
		if err := l.PgConn().WaitForNotification(waiting); ctx.Err() == nil && pgconn.Timeout(err) {
			return ErrDeaf
		} else if err != nil {
			return fmt.Errorf("waiting for the proof: %w", err)
		}
	}
	return l.execute(ctx, "unlisten "+probe)
}

// wait returns when a notification came, or after d.
func (l *line) wait(ctx context.Context, d time.Duration) error {
	waiting, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if err := l.PgConn().WaitForNotification(waiting); err != nil && (ctx.Err() != nil || !pgconn.Timeout(err)) {
		return fmt.Errorf("waiting for changes: %w", err)
	}
	return nil
}

func (l *line) execute(ctx context.Context, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	_, err := l.Exec(ctx, statement)
	return err
}

func (l *line) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	l.Close(ctx) // an error means that it is closed already
}
