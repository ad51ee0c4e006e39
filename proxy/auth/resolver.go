// Package auth is the proxy's domain: who is calling.
//
// A presented key is split into its public prefix, which finds a record through three tiers (memory, the shared cache,
// the source), and a hash, which is compared with the record every time. The answer is allow, deny or unknown, and the
// three are never mixed. The package does no I/O: the tiers are contracts, declared here and kept by the adapters below
// this directory. docs/coherence.md argues why a revoked key is not served late.
package auth

import (
	"crypto/sha256"
	"log/slog"
	"sync/atomic"
	"time"

	"keygate/proxy/apikey"
)

// Tier is where an answer came from.
type Tier uint8

// The tiers, nearest first.
const (
	TierMemory Tier = iota
	TierShared
	TierSource
)

var tierNames = [...]string{TierMemory: "memory", TierShared: "redis", TierSource: "source"}

// String returns the name that metrics use.
func (t Tier) String() string { return tierNames[t] }

// Config is what a Resolver needs. Cache is nil where no shared cache is used; all else must be set.
type Config struct {
	Format apikey.Format
	Pepper []byte // for keys stored as HMACSHA256

	Memory   Memory // records
	Negative Memory // prefixes without a record, apart so that a flood of them evicts no record
	Cache    Cache
	Source   Source

	CacheTTL     time.Duration // how long a copy in memory is fresh
	SharedTTL    time.Duration // how long a record is fresh from when the source was read
	NegativeTTL  time.Duration
	StaleIfError time.Duration // how long after the source was read a copy may answer when nobody can be asked; 0: not at all

	SourceRate        int // look-ups a second
	SourceConcurrency int // look-ups at once

	// HashesMayChange says that the source may give a prefix another hash without telling (a foreign table): a mismatch
	// asks the source before it denies.
	HashesMayChange bool

	Logger  *slog.Logger
	Metrics *Metrics
}

// Resolver answers whether a key may pass. Safe for concurrent use. Run must be running for evictions to reach the
// shared cache; Close waits for look-ups in flight.
type Resolver struct {
	Config
	clock   *clock
	gens    *generations
	gate    *gate
	flights *flights
	evicts  *evictions
	leases  *leaseWaits
	charges *charges

	doubtedAt   atomic.Int64 // on the steady clock; 0: never
	suspectUpTo atomic.Int64 // records that were filled up to this time on the steady clock are suspect
}

// New returns a Resolver.
func New(cfg Config) *Resolver {
	r := &Resolver{
		Config: cfg,
		clock:  newClock(),
		gens:   newGenerations(),
		gate:   newGate(cfg.SourceRate, cfg.SourceConcurrency, cfg.sourceChanged),
		evicts: newEvictions(),
		leases: newLeaseWaits(),

		charges: newCharges(),
	}
	r.flights = newFlights(r)
	return r
}

func (c Config) sourceChanged(failing bool) {
	if failing {
		c.Logger.Warn("the database does not answer look-ups; known keys go on with what was last known")
	} else {
		c.Logger.Info("the database answers look-ups again")
	}
}

// Close cancels look-ups in flight and waits for them. Resolve answers Unavailable for what is not in memory from then on.
func (r *Resolver) Close() { r.flights.close() }

// SourceHealthy says whether the source answered one of the last few look-ups, or has not been asked yet.
func (r *Resolver) SourceHealthy() bool { return r.gate.healthy() }

// Recall decides as Ask does, if memory alone can tell. False says nothing.
func (r *Resolver) Recall(key []byte, now time.Time) (d Decision, known bool) {
	prefix, ok := r.Format.Split(key)
	if !ok {
		return r.Metrics.decided(Decision{Reason: Malformed}), true
	}
	steady, n := r.clock.steady(now), r.gens.note(prefix)
	e, found := r.fromMemory(prefix, n, steady)
	d = Decision{Reason: NoSuchKey}
	switch found {
	case stale, miss:
		return Decision{}, false
	case hit:
		d = r.decide(key, prefix, e, now)
		if d.Reason == WrongSecret && r.mayHaveChanged(e, steady) {
			return Decision{}, false
		}
	}
	r.Metrics.looked(TierMemory, found)
	return r.Metrics.decided(d), true
}

// fromMemory returns a copy that may answer now as a hit, or says what else memory holds: negative, stale or a miss. The
// caller counts it. A copy whose time is nearly over is refreshed, and nobody waits for that.
func (r *Resolver) fromMemory(prefix []byte, n note, steady int64) (entry, lookup) {
	e := r.copyOf(prefix, n)
	switch {
	case e == nil && r.isNegative(prefix, n, steady):
		return nil, negative
	case e == nil:
		return nil, miss
	case !fresh(e, n, steady):
		return nil, stale
	case steady >= e.refreshAt():
		r.flights.join(prefix, asked, nil)
	}
	return e, hit
}

// decide says whether a key may pass by an entry, which is consumed if so.
func (r *Resolver) decide(key, prefix []byte, e entry, now time.Time) Decision {
	reason, by := e.decide(&presented{key: key, sha: sha256.Sum256(key), pepper: r.Pepper}, now)
	d := Decision{Reason: reason, LastKnown: e.is(flagLastKnown)}
	if reason == Allowed {
		d.Principal = Principal{OrgID: e.takeOrg(by), Prefix: prefix}
	}
	return d
}

// copyOf returns the copy in memory, or nil if there is none that is believed.
func (r *Resolver) copyOf(prefix []byte, n note) entry {
	value, _ := r.Memory.Get(prefix)
	return believed(value, n)
}

// believed returns the copy that a value from memory is, or nil if it is none any more.
func believed(value []byte, n note) entry {
	if e, ok := parseEntry(value); ok && e.note().removes == n.removes {
		return e
	}
	return nil
}

// fresh says whether a copy may answer without anybody being asked.
func fresh(e entry, n note, steady int64) bool {
	return steady < e.freshUntil() && e.note() == n
}

// A second between two questions about one prefix keeps a wrong key from becoming a load on the source.
const mismatchInterval = time.Second

func (r *Resolver) mayHaveChanged(e entry, steady int64) bool {
	return r.HashesMayChange && steady-e.readAt() >= mismatchInterval.Milliseconds() && !e.is(flagLastKnown)
}
