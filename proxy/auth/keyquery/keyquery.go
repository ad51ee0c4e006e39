// Package keyquery is the one SELECT that finds the keys of a prefix: which columns it may give, and how a row of them
// becomes an auth.Key. It is the same for each database; the sources run it.
//
// The query has one parameter, $1, the prefix. Its columns are found by name, in any order:
//
//	org_id       any type, taken as text
//	key_hash     the 32 bytes of the hash, or their 64 hexadecimal digits; a row where it is null holds no key
//	enabled      optional boolean, null is true: the key has not been revoked
//	org_enabled  optional boolean, null is true: the organisation has not been suspended
//	expires_at   optional time, null is never
//	hash_alg     optional, "sha256" or "hmac-sha256", null is the default of the proxy
package keyquery

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"keygate/proxy/auth"
)

// Err reports a query that cannot serve, and what is wrong with it. Asking again will not help.
var Err = errors.New("unusable key query")

// ErrRow reports a row that cannot be understood. It never quotes a value.
var ErrRow = errors.New("a row of the key query cannot be used")

// MaxRows bounds the rows of one prefix. More of them mean that the query does not compare the whole prefix, or that
// the prefix is too short to tell keys apart.
const MaxRows = 255

// The columns.
const (
	OrgID      = "org_id"
	KeyHash    = "key_hash"
	Enabled    = "enabled"
	OrgEnabled = "org_enabled"
	ExpiresAt  = "expires_at"
	HashAlg    = "hash_alg"
)

var (
	required = []string{OrgID, KeyHash}
	optional = []string{Enabled, OrgEnabled, ExpiresAt, HashAlg}
)

// Own is the query on keygate's own tables. Who sets only revoked_at by hand means to revoke.
const Own = `select k.org_id, k.key_hash, k.hash_alg, k.expires_at, o.enabled as org_enabled,
       k.enabled and k.revoked_at is null as enabled
from api_keys k join organizations o on o.id = k.org_id
where k.prefix = $1`

// Trim returns the query without what would keep it from standing in parentheses.
func Trim(query string) string { return strings.TrimRight(strings.TrimSpace(query), "; \t\r\n") }

// CanExist says whether a prefix can stand in a text column at all. What is no UTF-8 or holds a NUL would be an error
// of the database, not an answer.
func CanExist(prefix string) bool {
	return utf8.ValidString(prefix) && strings.IndexByte(prefix, 0) < 0
}

// CheckColumns returns an Err unless the columns are what a key needs.
func CheckColumns(names []string) error {
	for i, name := range names {
		if !slices.Contains(required, name) && !slices.Contains(optional, name) {
			return fmt.Errorf("%w: it gives a column %q; name its columns %s (and, optionally, %s) with AS",
				Err, name, strings.Join(required, ", "), strings.Join(optional, ", "))
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("%w: it gives the column %s twice", Err, name)
		}
	}
	for _, name := range required {
		if !slices.Contains(names, name) {
			return fmt.Errorf("%w: it gives no column %s", Err, name)
		}
	}
	return nil
}

// Rows is what the rows of every driver have.
type Rows interface {
	Next() bool
	Err() error
}

// Keys reads the rows of one prefix, whose values, in the order of columns, read returns. Too many rows are ErrRow.
func Keys(rows Rows, columns []string, read func() ([]any, error), alg auth.Alg) (keys []auth.Key, err error) {
	for n := 0; rows.Next(); n++ {
		if n == MaxRows {
			return nil, fmt.Errorf("%w: more than %d rows for one prefix", ErrRow, MaxRows)
		}
		values, err := read()
		if err != nil {
			return nil, fmt.Errorf("reading a key: %w", err)
		}
		key, ok, err := Key(columns, values, alg)
		if err != nil {
			return nil, err
		}
		if ok {
			keys = append(keys, key)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("asking for a prefix: %w", err)
	}
	return keys, nil
}

// Key reads one row, whose values stand under columns: texts as string, hashes as []byte or string, booleans as bool or
// int64, times as time.Time, null as nil. False means that the row holds no key.
func Key(columns []string, values []any, alg auth.Alg) (key auth.Key, ok bool, err error) {
	key = auth.Key{Alg: alg, Enabled: true, OrgEnabled: true}
	for i, column := range columns {
		value := values[i]
		if value == nil {
			switch column {
			case KeyHash:
				return auth.Key{}, false, nil
			case OrgID:
				return auth.Key{}, false, fmt.Errorf("%w: %s is null", ErrRow, column)
			}
			continue
		}
		switch column {
		case OrgID:
			key.OrgID, err = orgID(value)
		case KeyHash:
			key.Hash, err = hash(value)
		case Enabled:
			key.Enabled, err = boolean(value)
		case OrgEnabled:
			key.OrgEnabled, err = boolean(value)
		case ExpiresAt:
			key.ExpiresAt, err = instant(value)
		case HashAlg:
			key.Alg, err = algorithm(value)
		}
		if err != nil {
			return auth.Key{}, false, fmt.Errorf("%w: %s: %w", ErrRow, column, err)
		}
	}
	return key, true, nil
}

func orgID(value any) (string, error) {
	text, ok := value.(string)
	if !ok {
		text = fmt.Sprint(value)
	}
	return text, auth.CheckOrgID(text)
}

func hash(value any) (hash auth.Hash, err error) {
	var raw []byte
	switch value := value.(type) {
	case []byte:
		raw = value
	case string:
		// PostgreSQL writes bytea as text with a leading \x.
		if raw, err = hex.DecodeString(strings.TrimPrefix(value, `\x`)); err != nil {
			return hash, errors.New("it is not hexadecimal")
		}
	default:
		return hash, fmt.Errorf("it is neither bytes nor text, but %T", value)
	}
	if len(raw) != sha256.Size {
		return hash, fmt.Errorf("it has %d bytes instead of %d", len(raw), sha256.Size)
	}
	return auth.Hash(raw), nil
}

func boolean(value any) (bool, error) {
	switch value := value.(type) {
	case bool:
		return value, nil
	case int64:
		if value == 0 || value == 1 {
			return value == 1, nil
		}
	}
	return false, errors.New("it is neither true nor false")
}

func instant(value any) (time.Time, error) {
	if at, ok := value.(time.Time); ok {
		return at, nil
	}
	return time.Time{}, errors.New("it is not a time")
}

func algorithm(value any) (auth.Alg, error) {
	text, ok := value.(string)
	if !ok {
		return 0, auth.ErrAlg
	}
	return auth.ParseAlg(text)
}
