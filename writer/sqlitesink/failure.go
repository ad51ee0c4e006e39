package sqlitesink

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"keygate/writer/commit"
)

// A commitError is one of COMMIT, the only statement that may have done its work in spite of it.
type commitError struct{ error }

func (e commitError) Unwrap() error { return e.error }

// failed says what an error means, and leaves no transaction behind.
func (s *Sink) failed(err error) error {
	failure := &commit.Failure{Cause: causeOf(err), Err: err}
	if unmigrated(err) {
		failure.Err = fmt.Errorf("%w: %w", commit.ErrUnmigrated, err)
	}
	if failure.Cause == commit.Unavailable || failure.Cause == commit.Uncertain || s.undo() != nil {
		s.Close() // which undoes, too; its own error would say no more than the first
	}
	return failure
}

var errNotOpen = errors.New("the file is not open")

func (s *Sink) undo() error {
	if s.prepared[undo] == nil {
		return errNotOpen
	}
	_, err := s.prepared[undo].Exec()
	return err
}

func causeOf(err error) commit.Cause {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return commit.Overloaded
	}
	_, committing := errors.AsType[commitError](err)
	switch code := codeOf(err); {
	case code == sqlite3.SQLITE_FULL:
		return commit.Full
	case code == sqlite3.SQLITE_BUSY:
		return commit.Unavailable
	case committing:
		return commit.Uncertain
	case code == sqlite3.SQLITE_CONSTRAINT || code == sqlite3.SQLITE_MISMATCH || code == sqlite3.SQLITE_TOOBIG:
		return commit.Refused
	case code == sqlite3.SQLITE_INTERRUPT || code == sqlite3.SQLITE_NOMEM:
		return commit.Overloaded
	}
	return commit.Unavailable
}

// codeOf returns SQLite's primary code; 0 for an error that is not SQLite's.
func codeOf(err error) int {
	if failure, ok := errors.AsType[*sqlite.Error](err); ok {
		return failure.Code() & 0xff
	}
	return 0
}

// unmigrated goes by the text, because SQLite has no code for it.
func unmigrated(err error) bool {
	text := err.Error()
	return codeOf(err) == sqlite3.SQLITE_ERROR &&
		(strings.Contains(text, "no such table") || strings.Contains(text, "no column named") ||
			strings.Contains(text, "no such column"))
}
