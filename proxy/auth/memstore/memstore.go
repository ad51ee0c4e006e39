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
//
// All of MaxBytes is reserved at the start, because bigcache doubles what it outgrows and leaves the halves to the
// garbage collector. What was reserved and not yet written to takes no memory from the system.
type Store struct {
	cache    *bigcache.BigCache
	maxValue int
	reserved int
}

var _ auth.Memory = (*Store)(nil)

// Config sizes a Store.
type Config struct {
	MaxBytes int           // of the values and keys together; rounded up to a mebibyte
	Forget   time.Duration // how long after it was written an entry may be dropped
}

const (
	shards = 256
	// bigcache reserves the product of how many entries it expects and of how large they are. The first sizes its maps as
	// well, which grow by themselves; the second a buffer in each shard, a 64th of what the shard holds.
	expectedEntries = 64
)

// Open returns an empty Store. It starts one goroutine, which Close ends.
func Open(cfg Config) (*Store, error) {
	mebibytes := max(1, (cfg.MaxBytes+1<<20-1)>>20)
	shardBytes := mebibytes << 20 / shards
	cache, err := bigcache.New(context.Background(), bigcache.Config{
		Shards:             shards,
		LifeWindow:         cfg.Forget,
		CleanWindow:        cleanWindow,
		MaxEntriesInWindow: shards * expectedEntries,
		MaxEntrySize:       shardBytes / expectedEntries,
		HardMaxCacheSize:   mebibytes,
		Hasher:             hasher{maphash.MakeSeed()},
	})
	if err != nil {
		return nil, fmt.Errorf("sizing the memory cache: %w", err)
	}
	return &Store{cache: cache, maxValue: shardBytes / 2, reserved: mebibytes << 20}, nil
}

// A map of 64-bit integers takes 19 to 39 bytes an entry: it is half full after it has doubled.
const mapBytes = 36

// Inert is how many bytes of the heap are in use without costing the garbage collector any work: what is reserved, and
// bigcache's maps of where entries begin.
func (s *Store) Inert() int { return s.reserved + s.cache.Len()*mapBytes }

// A shard is locked while what it has outlived is dropped; ten seconds keep each such pause short.
const cleanWindow = 10 * time.Second

// Close ends the cleaning. The Store must not be used any more.
func (s *Store) Close() error { return s.cache.Close() }

// Get implements auth.Memory. bigcache copies the value and, to compare it, the key: two allocations.
func (s *Store) Get(prefix []byte) ([]byte, bool) {
	value, err := s.cache.Get(lent(prefix))
	return value, err == nil
}

// Set implements auth.Memory. What would fill half a shard is dropped, which is a miss later; bigcache would drop all
// else to make room.
func (s *Store) Set(prefix, value []byte) {
	if len(value) <= s.maxValue {
		_ = s.cache.Set(lent(prefix), value)
	} else {
		s.Delete(prefix)
	}
}

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
