// Package memstore keeps records in this process, in bigcache: bytes that the garbage collector does not scan, in
// shards that do not wait for each other.
package memstore

import (
	"context"
	"fmt"
	"hash/maphash"
	"time"
	"unsafe"

	"github.com/allegro/bigcache/v3"

	"keygate/proxy/auth"
)

// Store is an auth.Memory. What it holds carries its own times: bigcache's one life window only frees space, and what
// it evicts first is what was written first.
type Store struct{ cache *bigcache.BigCache }

var _ auth.Memory = (*Store)(nil)

// Config sizes a Store.
type Config struct {
	MaxBytes int           // of the values and keys together; rounded up to a mebibyte
	Forget   time.Duration // how long after it was written an entry may be dropped
}

const (
	shards = 256
	// A record of one key with a UUID organisation takes 160 bytes, its prefix 25 more.
	entryBytes = 256
	// What is reserved at start: 256 shards of 16 entries, a mebibyte in all. Shards grow as they fill.
	initialEntries = shards * 16
)

// Open returns an empty Store. It starts one goroutine, which Close ends.
func Open(cfg Config) (*Store, error) {
	cache, err := bigcache.New(context.Background(), bigcache.Config{
		Shards:             shards,
		LifeWindow:         cfg.Forget,
		CleanWindow:        cleanWindow,
		MaxEntriesInWindow: initialEntries,
		MaxEntrySize:       entryBytes,
		HardMaxCacheSize:   max(1, (cfg.MaxBytes+1<<20-1)>>20),
		Hasher:             hasher{maphash.MakeSeed()},
	})
	if err != nil {
		return nil, fmt.Errorf("sizing the memory cache: %w", err)
	}
	return &Store{cache}, nil
}

// A shard is locked while what it has outlived is dropped; ten seconds keep each such pause short.
const cleanWindow = 10 * time.Second

// Close ends the cleaning. The Store must not be used any more.
func (s *Store) Close() error { return s.cache.Close() }

// Get implements auth.Memory. bigcache copies the value and, to compare it, the key: two allocations.
func (s *Store) Get(prefix []byte) ([]byte, bool) {
	value, err := s.cache.Get(lent(prefix))
	return value, err == nil
}

// Set implements auth.Memory. A value that does not fit is dropped, which is a miss later.
func (s *Store) Set(prefix, value []byte) { _ = s.cache.Set(lent(prefix), value) }

// Delete implements auth.Memory.
func (s *Store) Delete(prefix []byte) { _ = s.cache.Delete(lent(prefix)) }

// Len implements auth.Memory.
func (s *Store) Len() int { return s.cache.Len() }

// lent is prefix as a string for the length of a call: bigcache keeps a copy of its own.
func lent(prefix []byte) string { return unsafe.String(unsafe.SliceData(prefix), len(prefix)) }

// hasher is seeded per process: bigcache's own hash is not, so that clients could choose prefixes that evict each
// other.
type hasher struct{ seed maphash.Seed }

func (h hasher) Sum64(key string) uint64 { return maphash.String(h.seed, key) }
