package keys

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"keygate/shared/database"
)

// Key is a key as it is listed: all but its hash.
type Key struct {
	Prefix     string    `json:"prefix"`
	OrgID      string    `json:"org_id"`
	OrgName    string    `json:"org_name"`
	OrgEnabled bool      `json:"org_enabled"`
	Enabled    bool      `json:"enabled"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
	RevokedAt  time.Time `json:"revoked_at,omitzero"`
}

const selectKeys = `
select k.prefix, k.org_id, o.name, o.enabled, k.enabled and k.revoked_at is null, k.created_at, k.expires_at, k.revoked_at
from api_keys k join organizations o on o.id = k.org_id `

// List returns the keys of one organisation, or of all with an empty id, the oldest first.
func (s *Store) List(ctx context.Context, orgID string) ([]Key, error) {
	rows, err := s.db.QueryContext(ctx, selectKeys+"where $1 = '' or k.org_id = $1 order by k.created_at, k.prefix", orgID)
	if err != nil {
		return nil, fmt.Errorf("listing keys: %w", err)
	}
	defer rows.Close()
	var keys []Key
	for rows.Next() {
		key, err := scan(rows.Scan)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing keys: %w", err)
	}
	return keys, nil
}

// find returns the key with a prefix; on Postgres it stays locked until the transaction ends.
func (s *Store) find(ctx context.Context, tx *sql.Tx, prefix string) (Key, error) {
	query := selectKeys + "where k.prefix = $1"
	if s.db.Dialect == database.Postgres {
		query += " for update of k"
	}
	key, err := scan(tx.QueryRowContext(ctx, query, prefix).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return Key{}, ErrUnknownPrefix
	}
	return key, err
}

func scan(row func(...any) error) (Key, error) {
	var key Key
	var expires, revoked sql.NullTime
	err := row(&key.Prefix, &key.OrgID, &key.OrgName, &key.OrgEnabled, &key.Enabled, &key.CreatedAt, &expires, &revoked)
	if err != nil {
		return Key{}, fmt.Errorf("reading a key: %w", err)
	}
	key.ExpiresAt, key.RevokedAt = expires.Time, revoked.Time
	return key, nil
}
