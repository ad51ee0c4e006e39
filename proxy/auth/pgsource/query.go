package pgsource

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"keygate/proxy/auth/keyquery"
)

// lookup is a key query that has been checked.
type lookup struct {
	text    string
	columns []string
}

// casts of the columns whose type is free; the others must be of one of the types.
var (
	casts = map[string]string{keyquery.OrgID: "::text", keyquery.HashAlg: "::text"}
	types = map[string][]uint32{
		keyquery.KeyHash:    {pgtype.ByteaOID, pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID},
		keyquery.Enabled:    {pgtype.BoolOID},
		keyquery.OrgEnabled: {pgtype.BoolOID},
		keyquery.ExpiresAt:  {pgtype.TimestamptzOID, pgtype.TimestampOID, pgtype.DateOID},
	}
	typeNames = map[string]string{
		keyquery.KeyHash: "bytea or text", keyquery.Enabled: "boolean", keyquery.OrgEnabled: "boolean",
		keyquery.ExpiresAt: "timestamp with time zone",
	}
)

// prepared checks the query once, as soon as the database can be asked.
func (s *Source) prepared(ctx context.Context, conn *pgx.Conn) (*lookup, error) {
	if checked := s.lookup.Load(); checked != nil {
		return checked, nil
	}
	query := s.config.KeyQuery
	if query == "" {
		query = keyquery.Own
	}
	checked, err := check(ctx, conn, keyquery.Trim(query))
	if err != nil {
		return nil, s.explain(err)
	}
	s.lookup.Store(checked)
	return checked, nil
}

// check asks the server to describe the query, first as it stands, so that the server's complaints are about the
// operator's own text, then in the parentheses in which nothing but a SELECT can stand.
func check(ctx context.Context, conn *pgx.Conn, query string) (*lookup, error) {
	described, err := conn.Prepare(ctx, "", query)
	if err != nil {
		return nil, err
	}
	var columns, selected []string
	for _, field := range described.Fields {
		columns = append(columns, field.Name)
	}
	if len(columns) == 0 {
		return nil, fmt.Errorf("%w: it must be one SELECT", keyquery.Err)
	}
	if err := keyquery.CheckColumns(columns); err != nil {
		return nil, err
	}
	if len(described.ParamOIDs) != 1 {
		return nil, fmt.Errorf("%w: it has %d parameters; it must have one, $1, which is the prefix",
			keyquery.Err, len(described.ParamOIDs))
	}
	if !isText(described.ParamOIDs[0]) {
		return nil, fmt.Errorf("%w: it does not take $1 for text; write $1::text", keyquery.Err)
	}
	for _, field := range described.Fields {
		if allowed, limited := types[field.Name]; limited && !slices.Contains(allowed, field.DataTypeOID) {
			return nil, fmt.Errorf("%w: its column %s must be %s", keyquery.Err, field.Name, typeNames[field.Name])
		}
		selected = append(selected, "q."+field.Name+casts[field.Name])
	}
	text := fmt.Sprintf("select %s from (\n%s\n) q limit %d", strings.Join(selected, ", "), query, keyquery.MaxRows+1)
	if _, err := conn.Prepare(ctx, "", text); isSyntax(err) {
		return nil, fmt.Errorf("%w: it must be one SELECT that can stand in parentheses", keyquery.Err)
	} else if err != nil {
		return nil, err
	}
	return &lookup{text: text, columns: columns}, nil
}

// explain makes a complaint of the server about the query a keyquery.Err. Anything else may pass.
func (s *Source) explain(err error) error {
	failure, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok:
		return err
	case s.config.KeyQuery == "" && failure.Code == "42P01":
		return fmt.Errorf("%w: keygate's tables are missing; run `proxy migrate up`, "+
			"or name the tables of an API that exists already by --key-query", keyquery.Err)
	// Syntax error or access rule violation, feature not supported, data exception.
	case strings.HasPrefix(failure.Code, "42"), strings.HasPrefix(failure.Code, "0A"), strings.HasPrefix(failure.Code, "22"):
		return fmt.Errorf("%w: PostgreSQL says: %s (%s)", keyquery.Err, failure.Message, failure.Code)
	}
	return fmt.Errorf("checking the key query: %w", err)
}

// isText says that a string may be sent for a parameter of this type. Types of extensions, such as citext, read text.
func isText(oid uint32) bool {
	const firstUserOID = 16384
	return oid >= firstUserOID || slices.Contains([]uint32{
		pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.NameOID, pgtype.UnknownOID,
	}, oid)
}

func isSyntax(err error) bool {
	failure, ok := errors.AsType[*pgconn.PgError](err)
	return ok && failure.Code == "42601"
}
