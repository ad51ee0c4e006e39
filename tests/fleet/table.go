package main

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/jackc/pgx/v5"

	"keygate/proxy/apikey"
)

// key is an API key and its public prefix.
type key struct{ text, prefix string }

func texts(keys []key) (all []string) {
	for _, k := range keys {
		all = append(all, k.text)
	}
	return all
}

// mint makes keys of keygate's own format, which no table has yet.
func mint(count int) ([]key, error) {
	keys := make([]key, count)
	for i := range keys {
		text, prefix, err := apikey.Mint("zap", "live")
		if err != nil {
			return nil, err
		}
		keys[i] = key{text, prefix}
	}
	return keys, nil
}

// table is where keys are kept.
type table struct {
	name     string
	migrate  []string // arguments of `proxy migrate`, if the proxy's program makes a part of it
	schema   string   // the rest
	flags    []string // of `proxy serve`
	keys     string   // name in SQL
	prefix   string   // of its columns
	hash     string
	disables string // what revokes a key
}

// The prefix of a key of keygate's own format: as one of a foreign table it is found by its length.
const prefixLength = "21"

var foreignFlags = []string{"--key-prefix-length", prefixLength, "--key-query",
	"select id as org_id, api_key_hash as key_hash, active as enabled from customers where api_key_prefix = $1"}

const foreignSchema = `create table customers (id uuid primary key default gen_random_uuid(),
	api_key_prefix text not null unique, api_key_hash bytea not null, active boolean not null default true)`

var (
	ownTable = table{
		name: "own table", migrate: []string{"up"}, schema: "insert into organizations (id, name) values ('acme', 'Acme')",
		keys: "api_keys", prefix: "prefix", hash: "key_hash", disables: "enabled = false",
	}
	foreignTable = table{
		name: "foreign table", schema: foreignSchema, flags: foreignFlags,
		keys: "customers", prefix: "api_key_prefix", hash: "api_key_hash", disables: "active = false",
	}
	watchedTable = table{
		name: "foreign table with the trigger", migrate: []string{"up", "--only", "changelog"},
		schema: foreignSchema + "; select keygate_watch('customers', 'api_key_prefix')", flags: foreignFlags,
		keys: "customers", prefix: "api_key_prefix", hash: "api_key_hash", disables: "active = false",
	}
)

// fill stores keys.
func (t table) fill(ctx context.Context, db *pgx.Conn, keys []key) error {
	prefixes, hashes := make([]string, len(keys)), make([][]byte, len(keys))
	for i, k := range keys {
		hash := sha256.Sum256([]byte(k.text))
		prefixes[i], hashes[i] = k.prefix, hash[:]
	}
	columns, values := t.prefix+", "+t.hash, "p, h"
	if t.keys == ownTable.keys {
		columns, values = columns+", org_id", values+", 'acme'"
	}
	_, err := db.Exec(ctx, fmt.Sprintf("insert into %s (%s) select %s from unnest($1::text[], $2::bytea[]) u (p, h)",
		t.keys, columns, values), prefixes, hashes)
	return err
}

// revoke is the update that somebody types.
func (t table) revoke(ctx context.Context, db *pgx.Conn, keys ...key) error {
	prefixes := make([]string, len(keys))
	for i, k := range keys {
		prefixes[i] = k.prefix
	}
	done, err := db.Exec(ctx, fmt.Sprintf("update %s set %s where %s = any($1)", t.keys, t.disables, t.prefix), prefixes)
	if err == nil && done.RowsAffected() != int64(len(keys)) {
		err = fmt.Errorf("%d of %d keys were revoked", done.RowsAffected(), len(keys))
	}
	return err
}
