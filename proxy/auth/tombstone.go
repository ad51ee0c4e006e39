package auth

import (
	"encoding/binary"
	"time"
)

// A tombstone stands in memory under a prefix that was removed. A shared cache can go back in time (a fail-over that lost
// the last writes, a restart from an old file), and hold again what had been evicted; every proxy that heard of the remove
// remembers better. It is a version byte that no entry has, and the time of the remove on the shared cache's clock.
const (
	tombstoneVersion = 0xff
	tombstoneSize    = 1 + 8
)

// bury leaves a tombstone. What a flight stores over it, having begun before the remove, is buried by the flight. The
// other clock is known to a round trip only, so that what is buried may seem to be younger than the present.
func (r *Resolver) bury(prefix []byte) {
	if r.Cache == nil {
		return
	}
	at := r.clock.shared(time.Now())
	if value, ok := r.Memory.Get(prefix); ok {
		at = max(at, filledUpTo(value))
	}
	value := append(make([]byte, 0, tombstoneSize), tombstoneVersion)
	r.Memory.Set(prefix, binary.LittleEndian.AppendUint64(value, uint64(at)))
}

func isTombstone(value []byte) bool {
	return len(value) == tombstoneSize && value[0] == tombstoneVersion
}

// filledUpTo returns when what stands in memory was filled, or up to when what was filled is buried; 0 for nothing.
func filledUpTo(value []byte) int64 {
	if isTombstone(value) {
		return int64(binary.LittleEndian.Uint64(value[1:]))
	}
	if e, ok := parseEntry(value); ok {
		return e.filledAt()
	}
	return 0
}

// outdated says that memory remembers better than a record: the prefix was removed since, or a later record has stood
// in the shared cache, where each is younger than the one before. What never stood there says so only after a doubt, or
// if it took the place of a tombstone, or that of a copy whose record was overwritten.
func (r *Resolver) outdated(prefix []byte, rec *Record) bool {
	value, _ := r.Memory.Get(prefix)
	switch {
	case isTombstone(value):
		return rec.FilledAt <= filledUpTo(value)
	case rec.FilledAt >= filledUpTo(value):
		return false
	}
	_, suspect := r.suspect(rec)
	return suspect || entry(value).is(flagShared|flagBuried|flagContested)
}

// buried says that a remove is remembered under a prefix, which what is stored in its place has to go on with.
func (r *Resolver) buried(prefix []byte) bool {
	value, _ := r.Memory.Get(prefix)
	if isTombstone(value) {
		return true
	}
	e, ok := parseEntry(value)
	return ok && e.is(flagBuried)
}
