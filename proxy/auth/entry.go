package auth

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"time"
	"unsafe"
)

// An entry is the binary form of a record in memory, with the generations noted for it. All integers are
// little-endian; times are Unix milliseconds on this process's steady clock, except filledAt and expiry.
//
//	0  version   1  flags    2  looks    6  removes   10 demotes
//	14 freshUntil            22 refreshAt             30 readAt    38 filledAt
//	46 length of fill, 1 byte; fill
//	   count of keys, 2 bytes; per key: alg, flags, expiry (8), hash (32), length of org, org
type entry []byte

const (
	entryVersion = 1
	entryFixed   = 46

	flagShared    = 1 << 0 // the shared cache holds this fill, and tells when it changes
	flagLastKnown = 1 << 1 // the source could not be asked: served within the stale-if-error limit
	flagDoubted   = 1 << 2 // last known since a doubt, and the shared cache could not be asked
	flagAdrift    = 1 << 3 // last known since a doubt, and the shared cache held nothing: what it tells is not about this

	keyFixed       = 1 + 1 + 8 + len(Hash{}) + 1
	flagEnabled    = 1 << 0
	flagOrgEnabled = 1 << 1

	maxKeys = 1<<16 - 1
)

// errTooManyKeys reports a foreign table whose prefixes hardly tell keys apart.
var errTooManyKeys = errors.New("more than 65,535 rows for one prefix: use a longer --key-prefix-length")

// lifetime is when an entry may be used, on the steady clock.
type lifetime struct {
	freshUntil, refreshAt, readAt int64
}

func newEntry(rec *Record, n note, life lifetime, flags byte) entry {
	size := entryFixed + 1 + len(rec.Fill) + 2
	for i := range rec.Keys {
		size += keyFixed + len(rec.Keys[i].OrgID)
	}
	le := binary.LittleEndian
	e := make(entry, 0, size)
	e = e[:entryFixed]
	e.restamp(n, life, flags)
	le.PutUint64(e[38:], uint64(rec.FilledAt))
	e = append(e, byte(len(rec.Fill)))
	e = append(e, rec.Fill...)
	e = le.AppendUint16(e, uint16(len(rec.Keys)))
	for i := range rec.Keys {
		e = appendKey(e, &rec.Keys[i])
	}
	return e
}

// restamp rewrites all that does not come from the record.
func (e entry) restamp(n note, life lifetime, flags byte) {
	le := binary.LittleEndian
	e[0], e[1] = entryVersion, flags
	le.PutUint32(e[2:], n.looks)
	le.PutUint32(e[6:], n.removes)
	le.PutUint32(e[10:], n.demotes)
	le.PutUint64(e[14:], uint64(life.freshUntil))
	le.PutUint64(e[22:], uint64(life.refreshAt))
	le.PutUint64(e[30:], uint64(life.readAt))
}

func appendKey(e entry, key *Key) entry {
	var flags byte
	if key.Enabled {
		flags |= flagEnabled
	}
	if key.OrgEnabled {
		flags |= flagOrgEnabled
	}
	var expires int64
	if !key.ExpiresAt.IsZero() {
		expires = key.ExpiresAt.UnixMilli()
	}
	e = append(e, byte(key.Alg), flags)
	e = binary.LittleEndian.AppendUint64(e, uint64(expires))
	e = append(e, key.Hash[:]...)
	e = append(e, byte(len(key.OrgID)))
	return append(e, key.OrgID...)
}

func (e entry) is(flag byte) bool { return e[1]&flag != 0 }
func (e entry) note() note {
	le := binary.LittleEndian
	return note{looks: le.Uint32(e[2:]), removes: le.Uint32(e[6:]), demotes: le.Uint32(e[10:])}
}
func (e entry) freshUntil() int64 { return int64(binary.LittleEndian.Uint64(e[14:])) }
func (e entry) refreshAt() int64  { return int64(binary.LittleEndian.Uint64(e[22:])) }
func (e entry) readAt() int64     { return int64(binary.LittleEndian.Uint64(e[30:])) }
func (e entry) filledAt() int64   { return int64(binary.LittleEndian.Uint64(e[38:])) }
func (e entry) fill() string      { return string(e[entryFixed+1 : entryFixed+1+int(e[entryFixed])]) }

// decide compares a presented key with every key of the entry, in constant time for each. One that is enabled,
// unexpired and of an enabled organisation allows; else one that fails only by its organisation says suspended; else
// the reason of the last key with that hash is told, for the metrics: clients are not told which.
func (e entry) decide(p *presented, now time.Time) (reason Reason, org string) {
	reason = WrongSecret
	nowMillis := now.UnixMilli()
	for k := range e.keys() {
		want := p.hash(k.alg)
		if subtle.ConstantTimeCompare(want[:], k.hash) != 1 {
			continue
		}
		switch {
		case k.flags&flagEnabled == 0:
			reason = max(reason, Revoked)
		case k.expires != 0 && k.expires <= nowMillis:
			reason = max(reason, Expired)
		case k.flags&flagOrgEnabled == 0:
			reason = max(reason, Suspended)
		default:
			return Allowed, unsafe.String(unsafe.SliceData(k.org), len(k.org))
		}
	}
	return reason, ""
}

type entryKey struct {
	alg     Alg
	flags   byte
	expires int64
	hash    []byte
	org     []byte
}

func (e entry) keys() func(yield func(entryKey) bool) {
	return func(yield func(entryKey) bool) {
		at := entryFixed + 1 + int(e[entryFixed])
		count := int(binary.LittleEndian.Uint16(e[at:]))
		at += 2
		for range count {
			k := e[at:]
			org := k[keyFixed : keyFixed+int(k[keyFixed-1])]
			key := entryKey{
				alg: Alg(k[0]), flags: k[1], expires: int64(binary.LittleEndian.Uint64(k[2:])),
				hash: k[10 : 10+len(Hash{})], org: org,
			}
			if !yield(key) {
				return
			}
			at += keyFixed + len(org)
		}
	}
}
