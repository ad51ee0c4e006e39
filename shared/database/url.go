// Package database reads database URLs and opens the two databases that keygate speaks to.
//
// It is for one-shot commands and for SQLite. What serves requests from PostgreSQL keeps a pool of its own, made from
// URL.ConnString and ToPrimary.
package database

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Dialect is the language that a database speaks.
type Dialect string

// The dialects. Their names are those of the directories of migrations.
const (
	Postgres Dialect = "postgres"
	SQLite   Dialect = "sqlite"
)

// ErrURL reports a database URL that cannot be used. The errors that wrap it say how to mend it and never quote it,
// because a URL that cannot be read may hold a password anywhere.
var ErrURL = errors.New("unusable database URL")

// URL is a database URL that has been checked. Its String may be logged.
type URL struct {
	dialect Dialect
	text    string // for the driver; may hold a password
	shown   string
}

// Parse reads postgres://…, postgresql://… or sqlite:PATH.
func Parse(text string) (URL, error) {
	switch scheme, rest, _ := strings.Cut(text, ":"); scheme {
	case "postgres", "postgresql":
		return parsePostgres(text)
	case "sqlite":
		return parseSQLite(rest)
	}
	if text == "" {
		return URL{}, fmt.Errorf("%w: it is empty; use postgres://user@host/name or sqlite:PATH", ErrURL)
	}
	return URL{}, fmt.Errorf("%w: use postgres://user@host/name or sqlite:PATH", ErrURL)
}

// Dialect returns which database the URL is for.
func (u URL) Dialect() Dialect { return u.dialect }

// Path returns the file of a SQLite URL.
func (u URL) Path() string {
	if u.dialect != SQLite {
		return ""
	}
	return u.text
}

// ConnString returns what pgx parses, password included. It is not for logs.
func (u URL) ConnString() string { return u.text }

// String returns the URL without password or parameters.
func (u URL) String() string { return u.shown }

// ToPrimary makes connections refuse a standby, unless target_session_attrs in the URL says more. Keys must be read
// from where revocations are committed, and only a primary can be written to.
func ToPrimary(config *pgconn.Config) {
	if config.ValidateConnect == nil {
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
}

func parsePostgres(text string) (URL, error) {
	config, err := pgx.ParseConfig(text)
	// A slash in a password ends the host, and the rest of the password becomes the name of the database.
	if err != nil || strings.Contains(config.Database, "@") {
		return URL{}, fmt.Errorf("%w: it is not a valid postgres://user:password@host:port/name?parameters "+
			"(special characters in user and password must be percent-encoded)", ErrURL)
	}
	hosts := []string{address(config.Host, config.Port)}
	for _, other := range config.Fallbacks {
		// Each host is there once more for each way of using TLS.
		if host := address(other.Host, other.Port); host != hosts[len(hosts)-1] {
			hosts = append(hosts, host)
		}
	}
	shown := "postgres://" + config.User + "@" + strings.Join(hosts, ",") + "/" + config.Database
	return URL{dialect: Postgres, text: text, shown: shown}, nil
}

func address(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

func parseSQLite(path string) (URL, error) {
	switch {
	case path == "":
		return URL{}, fmt.Errorf("%w: sqlite: must be followed by a path", ErrURL)
	case strings.HasPrefix(path, "//"):
		return URL{}, fmt.Errorf("%w: write sqlite:PATH with a plain path and no slashes before it", ErrURL)
	case strings.HasPrefix(path, ":memory:"):
		return URL{}, fmt.Errorf("%w: a database in memory would be another one for each connection; name a file", ErrURL)
	case strings.ContainsRune(path, 0):
		return URL{}, fmt.Errorf("%w: the path holds a NUL byte", ErrURL)
	}
	return URL{dialect: SQLite, text: path, shown: "sqlite:" + path}, nil
}
