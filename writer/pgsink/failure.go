package pgsink

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"keygate/writer/commit"
)

// classify tells what an error of a statement says about its transaction.
func classify(err error) *commit.Failure {
	failure, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok && pgconn.SafeToRetry(err): // nothing was sent
		return &commit.Failure{Cause: commit.Unavailable, Err: err}
	case !ok:
		return &commit.Failure{Cause: commit.Uncertain, Err: err}
	case failure.SeverityUnlocalized == "FATAL" || failure.SeverityUnlocalized == "PANIC":
		// The session has ended; with it the transaction, but before or after its commit? A pooler says it like this too.
		return &commit.Failure{Cause: commit.Uncertain, Err: err}
	}
	cause := causeOf(failure.Code)
	switch failure.Code {
	case "42P01", "42703": // undefined table, undefined column
		err = fmt.Errorf("%w: %w", commit.ErrUnmigrated, err)
	}
	return &commit.Failure{Cause: cause, Err: err}
}

// causeOf sorts the SQLSTATEs of errors that have rolled a transaction back. What stands in none of the cases is about
// the server, its configuration or its schema, and ends when somebody mends it.
func causeOf(code string) commit.Cause {
	switch code {
	case "40003": // statement completion unknown
		return commit.Uncertain
	case "53100": // disk full
		return commit.Full
	case "57014", "55P03": // query cancelled, which is what statement_timeout does; lock not available
		return commit.Overloaded
	case "P0001": // raised by a trigger of somebody's
		return commit.Refused
	}
	switch code[:2] {
	case "22", "23", "54": // data exception, integrity constraint violation, program limit exceeded
		return commit.Refused
	case "53": // insufficient resources
		return commit.Overloaded
	}
	return commit.Unavailable
}
