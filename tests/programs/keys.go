package programs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"keygate/proxy/apikey"
)

// Key is an API key and whose it is.
type Key struct{ Key, OrgID string }

// At most so many organisations are made, however many keys there are.
const maxOrganizations = 1000

// CreateKeys makes n keys and their organisations, written straight into keygate's tables: a million of them by the
// command line would take an hour.
func (b *Bench) CreateKeys(ctx context.Context, n int) (_ []Key, err error) {
	conn, err := pgx.Connect(ctx, b.Postgres.URL(OwnDatabase))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	rows, err := conn.Query(ctx, `insert into organizations (id, name)
		select gen_random_uuid(), 'organisation ' || i from generate_series(1, $1) i returning id`, min(n, maxOrganizations))
	if err != nil {
		return nil, fmt.Errorf("making organisations: %w", err)
	}
	owners, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("making organisations: %w", err)
	}
	keys, made := make([]Key, n), 0
	source := pgx.CopyFromFunc(func() ([]any, error) {
		if made == n {
			return nil, nil
		}
		key, prefix, err := apikey.Mint("zap", "live")
		if err != nil {
			return nil, err
		}
		hash := sha256.Sum256([]byte(key))
		keys[made] = Key{key, owners[made%len(owners)]}
		made++
		return []any{keys[made-1].OrgID, prefix, hash[:]}, nil
	})
	_, err = conn.CopyFrom(ctx, pgx.Identifier{"api_keys"}, []string{"org_id", "prefix", "key_hash"}, source)
	if err != nil {
		return nil, fmt.Errorf("making keys: %w", err)
	}
	_, err = conn.Exec(ctx, "analyze api_keys")
	return keys, err
}
