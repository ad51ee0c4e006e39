// Package migrations creates and changes keygate's tables, in PostgreSQL and SQLite.
//
// There are three independent chains, each with its own version table, so that a database may hold one without the
// others: the log of changes that proxies follow, the keys, and the events. A chain is a directory of numbered pairs,
// NNNN_name.up.sql and NNNN_name.down.sql, for each dialect. One migration is one transaction, its row in the version
// table included.
//
// The package returns plain data; the commands around it are the programs' own.
package migrations

import (
	"cmp"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"keygate/shared/database"
)

// Chain is a sequence of migrations with a version of its own.
type Chain string

// The chains. Auth needs Changelog, whose functions its triggers call.
const (
	Changelog Chain = "changelog"
	Auth      Chain = "auth"
	Events    Chain = "events"
)

//go:embed */*/*.sql
var files embed.FS

// Migration is one step of a chain.
type Migration struct {
	Chain   Chain
	Version int
	Name    string

	up, down string
}

var (
	fileName    = regexp.MustCompile(`^(\d{4})_([a-z0-9_]+)\.(up|down)\.sql$`)
	createTable = regexp.MustCompile(`(?im)^create (?:unlogged )?table (?:if not exists )?([a-z0-9_]+)`)
)

// versionTable is where the chain keeps what has been applied.
func (c Chain) versionTable() string { return "keygate_migrations_" + string(c) }

// command is what an operator types to bring the chain up to date.
func (c Chain) command() string {
	if c == Events {
		return "writer migrate up"
	}
	return "proxy migrate up"
}

// tables are those that the migration creates, as its own text has them.
func (m Migration) tables() []string {
	var names []string
	for _, match := range createTable.FindAllStringSubmatch(m.up, -1) {
		names = append(names, match[1])
	}
	return names
}

// load returns the migrations of a chain in their order, complete and without gaps, as every release must ship them.
func load(source fs.FS, chain Chain, dialect database.Dialect) ([]Migration, error) {
	dir := path.Join(string(chain), string(dialect))
	entries, err := fs.ReadDir(source, dir)
	if err != nil {
		return nil, fmt.Errorf("finding the chain %q for %q: %w", chain, dialect, err)
	}
	found := map[int]Migration{}
	for _, entry := range entries {
		match := fileName.FindStringSubmatch(entry.Name())
		if match == nil {
			return nil, fmt.Errorf("%s/%s is not named NNNN_name.up.sql or NNNN_name.down.sql", dir, entry.Name())
		}
		text, err := fs.ReadFile(source, path.Join(dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		version, _ := strconv.Atoi(match[1])
		m := found[version]
		if m.Name != "" && m.Name != match[2] {
			return nil, fmt.Errorf("%s: migration %d has two names", dir, version)
		}
		m.Chain, m.Version, m.Name = chain, version, match[2]
		if match[3] == "up" {
			m.up = string(text)
		} else {
			m.down = string(text)
		}
		found[version] = m
	}
	list := make([]Migration, 0, len(found))
	for _, m := range found {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b Migration) int { return cmp.Compare(a.Version, b.Version) })
	for i, m := range list {
		if m.Version != i+1 || strings.TrimSpace(m.up) == "" || strings.TrimSpace(m.down) == "" {
			return nil, fmt.Errorf("%s: migration %d is missing or half of it is", dir, i+1)
		}
	}
	return list, nil
}
