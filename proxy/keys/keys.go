// Package keys administers our own tables of organisations and keys. What it commits reaches every proxy by the change
// log; it tells nobody else.
package keys

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"keygate/proxy/apikey"
	"keygate/proxy/auth"
	"keygate/shared/database"
)

// The errors that an operator can mend.
var (
	ErrUnknownPrefix = errors.New("there is no key with that prefix")
	ErrAmbiguousName = errors.New("several organizations have that name: say which with --org-id")
	ErrOtherName     = errors.New("the organization with that id has another name")
	ErrRevoked       = errors.New("the key is revoked or expired: create a new one instead")
)

// Minting is how new keys look and how they are stored.
type Minting struct {
	Brand, Env string
	Alg        auth.Alg
	Pepper     []byte
}

// Store administers one database.
type Store struct {
	db   *database.DB
	mint Minting
}

// New returns a Store of an open and migrated database, which stays the caller's to close.
func New(db *database.DB, mint Minting) *Store { return &Store{db: db, mint: mint} }

// Created is a new key. It is the only time that the key itself is seen: stored is its hash.
type Created struct {
	Key    string `json:"key"`
	Prefix string `json:"prefix"`
	OrgID  string `json:"org_id"`
}

// Owner says whose a new key is to be: the organisation with the id, which is created under the name if it does not
// exist; without an id the one organisation of that name, or a new one.
type Owner struct{ Name, ID string }

// Create makes a key, which never expires if expires is zero.
func (s *Store) Create(ctx context.Context, owner Owner, expires time.Time) (created Created, err error) {
	if owner.ID != "" {
		if err := auth.CheckOrgID(owner.ID); err != nil {
			return Created{}, err
		}
	}
	err = s.inTransaction(ctx, func(tx *sql.Tx) error {
		if err := s.alone(ctx, tx); err != nil {
			return err
		}
		orgID, err := s.organization(ctx, tx, owner)
		if err != nil {
			return err
		}
		created, err = s.insert(ctx, tx, orgID, expires)
		return err
	})
	return created, err
}

// Rotate makes a second key for the owner of a key, which goes on working for the overlap and no longer than before.
func (s *Store) Rotate(ctx context.Context, prefix string, overlap time.Duration) (created Created, err error) {
	err = s.inTransaction(ctx, func(tx *sql.Tx) error {
		old, err := s.find(ctx, tx, prefix)
		if err != nil {
			return err
		}
		now := time.Now()
		if !old.Enabled || !old.ExpiresAt.IsZero() && !old.ExpiresAt.After(now) {
			return ErrRevoked
		}
		if created, err = s.insert(ctx, tx, old.OrgID, old.ExpiresAt); err != nil {
			return err
		}
		end := now.Add(overlap)
		if !old.ExpiresAt.IsZero() && old.ExpiresAt.Before(end) {
			return nil
		}
		const update = "update api_keys set expires_at = $1 where prefix = $2"
		if _, err := tx.ExecContext(ctx, update, s.timestamp(end), prefix); err != nil {
			return fmt.Errorf("letting the old key expire: %w", err)
		}
		return nil
	})
	return created, err
}

// Revoke ends a key. To revoke it again changes nothing.
func (s *Store) Revoke(ctx context.Context, prefix string) error {
	return s.inTransaction(ctx, func(tx *sql.Tx) error {
		key, err := s.find(ctx, tx, prefix)
		if err != nil || !key.Enabled {
			return err
		}
		_, err = tx.ExecContext(ctx, "update api_keys set enabled = $1, revoked_at = $2 where prefix = $3",
			false, s.timestamp(time.Now()), prefix)
		if err != nil {
			return fmt.Errorf("revoking the key: %w", err)
		}
		return nil
	})
}

func (s *Store) inTransaction(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	defer tx.Rollback()
	if err := do(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return nil
}

// The key of an advisory lock is any number that no other program uses: "keygate" in ASCII, which migrations take, and one.
const createLock = 0x6b657967617465 + 1

// alone makes whoever else creates a key wait until the transaction ends, so that two who find no organisation of a name
// do not create one each. A transaction of SQLite is alone from its beginning.
func (s *Store) alone(ctx context.Context, tx *sql.Tx) error {
	if s.db.Dialect == database.SQLite {
		return nil
	}
	if _, err := tx.ExecContext(ctx, "select pg_advisory_xact_lock($1)", createLock); err != nil {
		return fmt.Errorf("waiting for others who create a key: %w", err)
	}
	return nil
}

// organization returns the id of the owner, which it creates if need be.
func (s *Store) organization(ctx context.Context, tx *sql.Tx, owner Owner) (string, error) {
	query, arg := "select id, name from organizations where name = $1 order by id limit 2", owner.Name
	if owner.ID != "" {
		query, arg = "select id, name from organizations where id = $1", owner.ID
	}
	rows, err := tx.QueryContext(ctx, query, arg)
	if err != nil {
		return "", fmt.Errorf("looking for the organization: %w", err)
	}
	defer rows.Close()
	var id, name string
	found := 0
	for ; rows.Next(); found++ {
		if err := rows.Scan(&id, &name); err != nil {
			return "", fmt.Errorf("reading an organization: %w", err)
		}
	}
	switch err := rows.Err(); {
	case err != nil:
		return "", fmt.Errorf("looking for the organization: %w", err)
	case found > 1:
		return "", ErrAmbiguousName
	case found == 1 && owner.Name != "" && name != owner.Name:
		return "", ErrOtherName
	case found == 1:
		return id, nil
	}
	if id = owner.ID; id == "" {
		id = randomUUID()
	}
	if owner.Name == "" {
		return "", errors.New("a new organization needs a name: give --org-name")
	}
	if _, err := tx.ExecContext(ctx, "insert into organizations (id, name) values ($1, $2)", id, owner.Name); err != nil {
		return "", fmt.Errorf("creating the organization: %w", err)
	}
	return id, nil
}

func (s *Store) insert(ctx context.Context, tx *sql.Tx, orgID string, expires time.Time) (Created, error) {
	key, prefix, err := apikey.Mint(s.mint.Brand, s.mint.Env)
	if err != nil {
		return Created{}, err
	}
	hash := auth.HashKey(s.mint.Alg, s.mint.Pepper, []byte(key))
	_, err = tx.ExecContext(ctx,
		"insert into api_keys (id, org_id, prefix, key_hash, hash_alg, expires_at) values ($1, $2, $3, $4, $5, $6)",
		randomUUID(), orgID, prefix, hash[:], s.mint.Alg.String(), s.timestamp(expires))
	if err != nil {
		return Created{}, fmt.Errorf("creating the key: %w", err)
	}
	return Created{Key: key, Prefix: prefix, OrgID: orgID}, nil
}

// timestamp is how a time is passed to the database: SQLite keeps text, in the form that sorts. Zero is null.
func (s *Store) timestamp(t time.Time) any {
	switch {
	case t.IsZero():
		return nil
	case s.db.Dialect == database.SQLite:
		return t.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	return t.UTC()
}

// randomUUID returns a UUIDv4 (RFC 9562).
func randomUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
