package auth

import (
	"context"
	"errors"
	"time"
)

// Memory is the tier in process. It may forget anything at any time, never answers with another prefix's value, and
// never fails. Get returns a copy that the caller owns; Set copies. Safe for concurrent use.
type Memory interface {
	Get(prefix []byte) ([]byte, bool)
	Set(prefix, value []byte)
	Delete(prefix []byte)
	Len() int
}

// Source is the truth about keys: the SQL database that revocations are committed to.
//
// Lookup reads a committed state no older than the call (a primary, never a replica). It returns every row of the
// prefix; none is the authoritative answer that the prefix does not exist. Any doubt (unreachable, over the deadline
// of ctx, a row that cannot be understood) is an error, never an empty answer. Organisation ids are checked with
// CheckOrgID. Lookup does not limit itself, nor retry, but over a connection that turns out to have ended: the caller
// does. Several may share a round trip. Safe for concurrent use.
type Source interface {
	Lookup(ctx context.Context, prefix string) ([]Key, error)
}

// ErrNoOrganization reports an organisation that the source does not know.
var ErrNoOrganization = errors.New("no such organization")

// Directory lists the prefixes of an organisation, revoked ones included. Only our own tables can answer it.
// Unknown organisations are ErrNoOrganization. Safe for concurrent use.
type Directory interface {
	Prefixes(ctx context.Context, orgID string) ([]string, error)
}

// State is what the shared cache holds under a prefix.
type State uint8

// The states of an entry in the shared cache.
const (
	Absent  State = iota // nothing
	Held                 // a record of ours, sealed as ours
	Leased               // a lease: somebody is reading the source
	Forged               // shaped like a record of ours, but not to be believed: unsealed, void by the floor, from the future
	Foreign              // something else, which is not ours to replace
)

// Token names the exact value that was seen under a prefix. Only the cache that made it reads it.
type Token string

// Reading is one look at the shared cache.
type Reading struct {
	State  State
	Record Record // when Held
	Token  Token  // when Held, Leased or Forged: what Store and Release compare
	Now    int64  // the cache's clock, Unix milliseconds, taken before the value was read
}

// Cache is the tier that all proxies share (Redis).
//
// Every method is one round trip that begins after the call, perhaps together with others' calls; it is bounded by ctx, and
// may run concurrently. An error says nothing about whether a write happened. Records are copied; the caller keeps its own.
// Nothing is retried.
type Cache interface {
	// Get reads what stands under prefix.
	Get(ctx context.Context, prefix string) (Reading, error)
	// GetMany is Get for many prefixes, in their order. It may take several round trips, and an error is everybody's.
	GetMany(ctx context.Context, prefixes []string) ([]Reading, error)
	// Lease puts a lease of two seconds under prefix if nothing stands there, and says what it found: Absent, with the
	// token of the new lease, if the lease is ours; else as Get.
	Lease(ctx context.Context, prefix string) (Reading, error)
	// Store replaces the value that expect names by rec. False: another value, or none, stands there by now, because
	// the key was evicted (DEL) or somebody else filled it; then nothing is written.
	Store(ctx context.Context, prefix string, expect Token, rec Record) (bool, error)
	// Release removes the value that expect names. False as in Store.
	Release(ctx context.Context, prefix string, expect Token) (bool, error)
	// Evict removes whatever of ours stands under the prefixes (DEL); with all, it raises the floor instead: no record
	// with FilledAt at or below it is ever Held again, for any proxy.
	Evict(ctx context.Context, scope Scope) error
}

// Scope is what an invalidation is about: some prefixes, or all of them.
type Scope struct {
	Prefixes []string
	All      bool
}

// Verb is what a change does to the copies in memory.
type Verb uint8

// The verbs. Each way in uses just one of them for a given event.
const (
	Look   Verb = iota + 1 // something happened to the shared entry: confirm with one Get before serving the copy again
	Remove                 // the truth changed: the copy is gone, also as last known answer
	Demote                 // in doubt: copies are not fresh, but still the last known answer
)

// Change is one thing heard from outside about the copies in memory.
type Change struct {
	Verb Verb
	Scope
	Since time.Time // when the truth changed, by this machine's clock; zero: not known
}

// Changes is a way in for changes: cache tracking, the invalidation bus, the source's change log.
//
// Run connects, calls deliver for every change in order, and reconnects with back-off by itself until ctx ends, whose
// error it returns; no other error ends it. A change is never skipped silently: whenever one may have been missed (at
// the first connection, after every reconnection, a gap, a flush) Run delivers Demote of all. deliver does not block
// and may be called from one goroutine at a time; it keeps the Change.
type Changes interface {
	Run(ctx context.Context, deliver func(Change)) error
}

// Receipt says how far an invalidation got.
type Receipt struct {
	Confirmed int // proxies that have removed their copies, this one included
	Proxies   int // proxies alive
}

// Fleet reaches every proxy that shares the cache.
//
// Invalidate evicts scope from the shared cache, tells every living proxy, and waits until each has confirmed or ctx
// ends. Receipt is complete when Confirmed equals Proxies; an error means that the shared cache could not be reached
// and nothing may be assumed of other proxies. Safe for concurrent use and idempotent.
type Fleet interface {
	Invalidate(ctx context.Context, scope Scope) (Receipt, error)
}
