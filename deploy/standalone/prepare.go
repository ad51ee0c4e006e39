package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"keygate/migrations"
	"keygate/proxy/apikey"
	"keygate/proxy/auth"
	"keygate/proxy/keys"
	"keygate/shared/database"
)

// prepare makes the data directory what it has to be. Tables and the demo key are made in our own file alone: another
// database is its owner's to change.
func (s *stack) prepare(ctx context.Context) error {
	if err := os.MkdirAll(s.dataDir, 0o700); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	if err := s.keepSecret(); err != nil {
		return err
	}
	own := s.proxy.Keys.DatabaseURL == "" && s.writer.DatabaseURL == ""
	if s.proxy.Keys.DatabaseURL == "" {
		s.proxy.Keys.DatabaseURL = s.ownURL()
	}
	if s.writer.DatabaseURL == "" {
		s.writer.DatabaseURL = s.ownURL()
	}
	if !own {
		return nil
	}
	url, err := database.Parse(s.ownURL())
	if err != nil {
		return err
	}
	db, err := database.Open(ctx, url)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := migrations.Up(ctx, db, migrations.Changelog, migrations.Auth, migrations.Events); err != nil {
		return err
	}
	return s.keepDemoKey(ctx, db)
}

// keepSecret makes the secret that proxy and writer share, unless both were given one.
func (s *stack) keepSecret() error {
	if s.proxy.TrustSecret != "" && s.writer.TrustSecret != "" {
		return nil
	}
	path := filepath.Join(s.dataDir, "trust-secret")
	secret, err := readLine(path)
	if errors.Is(err, fs.ErrNotExist) {
		random := make([]byte, 32)
		rand.Read(random)
		secret = hex.EncodeToString(random)
		err = writeLine(path, secret)
	}
	if err != nil {
		return fmt.Errorf("keeping the trust secret: %w", err)
	}
	s.proxy.TrustSecret, s.writer.TrustSecret = secret, secret
	return nil
}

// keepDemoKey takes the key from its file as long as the database has it; else it makes one.
func (s *stack) keepDemoKey(ctx context.Context, db *database.DB) error {
	path := filepath.Join(s.dataDir, "demo-key")
	key, err := readLine(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the demo key: %w", err)
	}
	store := keys.New(db, keys.Minting{Brand: "zap", Env: "live", Alg: auth.SHA256})
	known, err := isKnown(ctx, store, key)
	if err != nil {
		return err
	}
	if known {
		s.demoKey = key
		return nil
	}
	created, err := store.Create(ctx, keys.Owner{Name: "demo"}, time.Time{})
	if err != nil {
		return fmt.Errorf("creating the demo key: %w", err)
	}
	if err := writeLine(path, created.Key); err != nil {
		return fmt.Errorf("keeping the demo key: %w", err)
	}
	s.demoKey = created.Key
	return nil
}

func isKnown(ctx context.Context, store *keys.Store, key string) (bool, error) {
	prefix, ok := apikey.Format{}.Split([]byte(key))
	if !ok {
		return false, nil
	}
	list, err := store.List(ctx, "")
	if err != nil {
		return false, err
	}
	for i := range list {
		if list[i].Prefix == string(prefix) {
			return true, nil
		}
	}
	return false, nil
}

func readLine(path string) (string, error) {
	text, err := os.ReadFile(path)
	return strings.TrimSpace(string(text)), err
}

// writeLine writes a file that only its owner may read, whole or not at all.
func writeLine(path, line string) error {
	part := path + ".part"
	if err := os.WriteFile(part, []byte(line+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(part, path)
}
