package pgsink

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// connectTimeout is for each host of the URL, unless the URL says otherwise. It leaves a call the time for a second one.
const connectTimeout = 2 * time.Second

const statementTimeout = "statement_timeout"

// errUnreplicated is met when a commit's wait for the synchronous standby is cut short, by an administrator say: the rows
// are committed on this server, but may be lost with it.
var errUnreplicated = errors.New("the commit was not confirmed by the synchronous standby")

// connect makes sure that there is a connection.
func (s *Sink) connect(ctx context.Context) error {
	if s.conn != nil && !s.conn.IsClosed() {
		return nil
	}
	s.drop()
	conn, err := pgconn.ConnectConfig(ctx, s.config)
	if takesNoTimeout(err) {
		s.log.Warn("the pooler takes no statement_timeout: set it with ALTER ROLE … SET statement_timeout",
			"value", s.config.RuntimeParams[statementTimeout])
		delete(s.config.RuntimeParams, statementTimeout)
		conn, err = pgconn.ConnectConfig(ctx, s.config)
	}
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	s.conn = conn
	if err := s.prepare(ctx); err != nil {
		s.drop()
		return err
	}
	return nil
}

// takesNoTimeout recognises PgBouncer, which passes on only such parameters of a connection as it knows.
func takesNoTimeout(err error) bool {
	failure, ok := errors.AsType[*pgconn.PgError](err)
	return ok && failure.Code == "08P01" && strings.Contains(failure.Message, statementTimeout)
}

// prepare looks at the server's settings and prepares the statements, which proves that their tables are there.
func (s *Sink) prepare(ctx context.Context) error {
	if err := s.checkDurability(ctx); err != nil {
		return fmt.Errorf("reading the server's settings: %w", err)
	}
	if !s.prepares {
		return nil
	}
	for number, sql := range statements {
		// Named by its text: where sessions are shared, another version of this program must not be met by name.
		name := fmt.Sprintf("keygate_%x", sha256.Sum256([]byte(sql)))[:32]
		statement, err := s.conn.Prepare(ctx, name, sql, nil)
		if err != nil {
			return fmt.Errorf("preparing the statements: %w", classify(err))
		}
		s.prepared[number] = statement
	}
	return nil
}

// stopPreparing recognises a pooler that gives a transaction any session, without regard to what is prepared there: the
// statement is unknown to it, or exists already.
func (s *Sink) stopPreparing(err error) {
	failure, ok := errors.AsType[*pgconn.PgError](err)
	if ok && s.prepares && (failure.Code == "26000" || failure.Code == "42P05") {
		s.log.Warn("the pooler does not follow prepared statements: going on without", "error", err)
		s.prepares = false
	}
}

// checkDurability warns about settings under which a commit may be lost after it was confirmed.
func (s *Sink) checkDurability(ctx context.Context) error {
	result := s.conn.ExecParams(ctx, durabilitySQL, nil, nil, nil, nil).Read()
	if result.Err != nil {
		return result.Err
	}
	settings := fmt.Sprintf("synchronous_commit=%s fsync=%s", result.Rows[0][0], result.Rows[0][1])
	if strings.Contains(settings, "=off") && settings != s.warned {
		s.log.Warn("events confirmed as stored may be lost in a crash of the database", "settings", settings)
	}
	s.warned = settings
	return nil
}

// notice listens for the warning with which a commit ends whose standby was not waited for. It has no code of its own.
func (s *Sink) notice(_ *pgconn.PgConn, notice *pgconn.Notice) {
	if notice.Routine == "SyncRepWaitForLSN" {
		s.unreplicated = true
	}
}

// drop gives the connection up. pgx closes a broken one in the background, where it also asks the server to cancel what
// runs on it.
func (s *Sink) drop() {
	if s.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.conn.Close(ctx)
	s.closing = slices.DeleteFunc(append(s.closing, s.conn.CleanupDone()), func(closed <-chan struct{}) bool {
		select {
		case <-closed:
			return true
		default:
			return false
		}
	})
	s.conn = nil
}
