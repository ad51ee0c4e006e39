package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// DefaultMaxConns is the size of a SQLite pool: one writes at a time, the others read meanwhile.
const DefaultMaxConns = 4

// A write may have to wait for those of other connections. The longest that keygate makes, a batch of events on a slow
// disk, takes well under a second.
const busyTimeout = 5 * time.Second

// SQLiteOptions say how a file is opened. The zero value reads, writes and creates.
type SQLiteOptions struct {
	ReadOnly bool // the file must exist, and no statement can change it
	MaxConns int  // 0: DefaultMaxConns
}

// creating is held while a file is made, because closing a descriptor of a file drops all locks that this process has
// on it, SQLite's own included (POSIX): nobody may be using it already.
var creating sync.Mutex

// OpenSQLite opens a file with a write-ahead log and commits that are durable when they return. Transactions take the
// write lock as they begin, so that none fails halfway because another one wrote. A new file is readable by its owner
// alone; its directory must exist.
func OpenSQLite(ctx context.Context, path string, options SQLiteOptions) (*sql.DB, error) {
	if !options.ReadOnly {
		if err := create(path); err != nil {
			return nil, err
		}
	}
	// fdatasync makes a commit just as durable as fsync, in half the time on ext4. Where there is none, fsync stays.
	if _, err := sqlite.Fdatasync(true); err != nil && !errors.Is(err, sqlite.ErrFdatasyncUnavailable) {
		return nil, fmt.Errorf("choosing fdatasync: %w", err)
	}
	db, err := sql.Open("sqlite", dataSource(path, options.ReadOnly))
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	conns := options.MaxConns
	if conns == 0 {
		conns = DefaultMaxConns
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	if err := look(ctx, db); err != nil {
		db.Close()
		return nil, openError(path, err)
	}
	return db, nil
}

// busyPause is how soon a file that is being made by others is looked at again.
const busyPause = 5 * time.Millisecond

// look proves that the file can be read. While several make a new file's log at once, SQLite calls it locked without the
// wait that it grants otherwise.
func look(ctx context.Context, db *sql.DB) error {
	for end := time.Now().Add(busyTimeout); ; {
		var tables int
		err := db.QueryRowContext(ctx, "select count(*) from sqlite_schema").Scan(&tables)
		failure, ok := errors.AsType[*sqlite.Error](err)
		if !ok || failure.Code()&0xff != sqlite3.SQLITE_BUSY || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(busyPause):
		}
	}
}

func dataSource(path string, readOnly bool) string {
	query := url.Values{
		"_busy_timeout": {strconv.FormatInt(busyTimeout.Milliseconds(), 10)},
		"_dqs":          {"0"},
		"_error_rc":     {"1"},
		"mode":          {"rw"}, // a reader of a write-ahead log writes its shared memory, too
	}
	if readOnly {
		query.Set("_query_only", "1")
	} else {
		query.Set("_foreign_keys", "1")
		query.Set("_journal_mode", "WAL")
		query.Set("_synchronous", "FULL")
		query.Set("_txlock", "immediate")
	}
	return "file:" + (&url.URL{Path: filepath.ToSlash(filepath.Clean(path))}).EscapedPath() + "?" + query.Encode()
}

func create(path string) error {
	creating.Lock()
	defer creating.Unlock()
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("creating %s: the directory %s does not exist", path, filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("creating %s: %w", path, errors.Unwrap(err))
	}
	return file.Close()
}

func openError(path string, err error) error {
	failure, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	switch failure.Code() & 0xff {
	case sqlite3.SQLITE_CANTOPEN:
		if _, statErr := os.Stat(path); errors.Is(statErr, fs.ErrNotExist) {
			return fmt.Errorf("opening %s: %w", path, fs.ErrNotExist)
		}
		return fmt.Errorf("opening %s: the file and its directory must be readable and writable: %w", path, err)
	case sqlite3.SQLITE_READONLY:
		return fmt.Errorf("opening %s: the file and its directory must be writable: %w", path, err)
	case sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("opening %s: the file is not a SQLite database", path)
	}
	return fmt.Errorf("opening %s: %w", path, err)
}
