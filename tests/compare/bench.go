package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"keygate/tests/programs"
)

//go:embed rivals
var rivals embed.FS

const (
	// keyCount is how many keys the load takes in turn: all fit every cache, as in the service that is replaced.
	keyCount      = 100
	rivalDatabase = "rival"
)

// bench is what all groups share: the servers and programs, and the keys.
type bench struct {
	options
	*programs.Bench
	keys     []programs.Key
	keysFile string
	missing  []string // in words
}

// open starts PostgreSQL and Redis and makes keygate's tables and keys.
func open(ctx context.Context, o options) (*bench, error) {
	// The FastAPI service has two workers of up to 50 connections, in two modes.
	opened, err := programs.Open(ctx, o.bin, "max_connections=300")
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, Bench: opened}
	err = b.SQL(ctx, "postgres", "create database "+rivalDatabase)
	if err == nil {
		b.keys, err = b.CreateKeys(ctx, keyCount)
	}
	if err == nil {
		err = b.writeKeys()
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// writeKeys makes the files that the load generator and the rivals take the keys from.
func (b *bench) writeKeys() error {
	var list, nginx, haproxy strings.Builder
	for _, key := range b.keys {
		fmt.Fprintln(&list, key.Key)
		fmt.Fprintf(&nginx, "%q %q;\n", key.Key, key.OrgID)
		fmt.Fprintln(&haproxy, key.Key, key.OrgID)
	}
	b.keysFile = filepath.Join(b.Dir, "keys")
	return errors.Join(
		os.WriteFile(b.keysFile, []byte(list.String()), 0o600),
		os.WriteFile(filepath.Join(b.Dir, "keys.nginx"), []byte(nginx.String()), 0o644),
		os.WriteFile(filepath.Join(b.Dir, "keys.haproxy"), []byte(haproxy.String()), 0o644),
	)
}

// fill writes a rival's configuration with its placeholders filled in, and returns the path.
func (b *bench) fill(name, listen, upstream string) (string, error) {
	text, err := rivals.ReadFile("rivals/" + name)
	if err != nil {
		return "", err
	}
	filled := strings.NewReplacer("@DIR@", b.Dir, "@LISTEN@", listen, "@UPSTREAM@", upstream).Replace(string(text))
	path := filepath.Join(b.Dir, name)
	return path, os.WriteFile(path, []byte(filled), 0o644)
}
