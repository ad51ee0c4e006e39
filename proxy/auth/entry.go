package auth

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"time"
	"unsafe"
)

// An entry is the binary form of a record in memory, with the generations noted for it. All integers are
// little-endian; times are milliseconds, on this process's steady clock but for the expiry of keys.
//
//	offset  bytes
//	     0      1  version in the upper 3 bits, flags in the lower 5
//	     1     12  looks, removes and demotes that were noted
//	    13      6  when the source was read
//	    19      8  from then on: fresh for, and to be refreshed after
//	    27      6  the record's filledAt, on the shared cache's clock
//	    33      4  the beginning of the record's fill
//	    37         the keys, at least one, to the end. Each:
//	            1  flags, with the algorithm
//	           32  hash
//	            8  expiry, if there is one
//	           16  organisation, if it is a UUID in its usual form; else its length in one byte, and its text
//
// One key that does not expire, of an organisation with a UUID, takes 86 bytes. A million of them count.
type entry []byte

const (
	entryVersion = 2
	entryFixed   = 37

	atLooks, atRemoves, atDemotes = 1, 5, 9
	atRead, atFresh, atRefresh    = 13, 19, 23
	atFilled, atFill              = 27, 33

	flagShared    = 1 << 0 // the shared cache holds this fill, and tells when it changes
	flagLastKnown = 1 << 1 // the source could not be asked: served within the stale-if-error limit
	flagDoubted   = 1 << 2 // last known since a doubt, and the shared cache did not have it or could not be asked
	flagContested = 1 << 3 // the shared cache holds something that overwrote ours and is not believed
	flagBuried    = 1 << 4 // not shared, and filled after a remove: nothing that was filled earlier is believed
	flagBits      = 5

	keyFixed = 1 + len(Hash{})

	// Of a key. The algorithm stands above them.
	flagEnabled    = 1 << 0
	flagOrgEnabled = 1 << 1
	flagExpires    = 1 << 2
	flagOrgUUID    = 1 << 3
	keyFlagBits    = 4

	maxKeys = 1<<16 - 1
)

// errTooManyKeys reports a foreign table whose prefixes hardly tell keys apart.
var errTooManyKeys = errors.New("more than 65,535 rows for one prefix: use a longer --key-prefix-length")

// lifetime is when an entry may be used, on the steady clock. An entry keeps it to 49 days after the reading.
type lifetime struct {
	freshUntil, refreshAt, readAt int64
}

func newEntry(rec *Record, n note, life lifetime, flags byte) entry {
	e := make(entry, entryFixed, 128)
	e.restamp(n, life, flags)
	putUint48(e[atFilled:], rec.FilledAt)
	copy(e[atFill:entryFixed], rec.Fill)
	for i := range rec.Keys {
		e = appendKey(e, &rec.Keys[i])
	}
	return e
}

// 48 bits of milliseconds last until the year 10889.
func putUint48(b []byte, v int64) {
	binary.LittleEndian.PutUint32(b, uint32(v))
	binary.LittleEndian.PutUint16(b[4:], uint16(v>>32))
}

func uint48(b []byte) int64 {
	return int64(binary.LittleEndian.Uint32(b)) | int64(binary.LittleEndian.Uint16(b[4:]))<<32
}

// restamp rewrites all that does not come from the record.
func (e entry) restamp(n note, life lifetime, flags byte) {
	after := func(t int64) uint32 { return uint32(min(max(t-life.readAt, 0), math.MaxUint32)) }
	le := binary.LittleEndian
	e[0] = entryVersion<<flagBits | flags
	le.PutUint32(e[atLooks:], n.looks)
	le.PutUint32(e[atRemoves:], n.removes)
	le.PutUint32(e[atDemotes:], n.demotes)
	putUint48(e[atRead:], life.readAt)
	le.PutUint32(e[atFresh:], after(life.freshUntil))
	le.PutUint32(e[atRefresh:], after(life.refreshAt))
}

func appendKey(e entry, key *Key) entry {
	flags := byte(key.Alg) << keyFlagBits
	set := func(flag byte, yes bool) {
		if yes {
			flags |= flag
		}
	}
	uuid, isUUID := packUUID(key.OrgID)
	set(flagEnabled, key.Enabled)
	set(flagOrgEnabled, key.OrgEnabled)
	set(flagExpires, !key.ExpiresAt.IsZero())
	set(flagOrgUUID, isUUID)
	e = append(e, flags)
	e = append(e, key.Hash[:]...)
	if flags&flagExpires != 0 {
		e = binary.LittleEndian.AppendUint64(e, uint64(key.ExpiresAt.UnixMilli()))
	}
	if isUUID {
		return append(e, uuid[:]...)
	}
	e = append(e, byte(len(key.OrgID)))
	return append(e, key.OrgID...)
}

// parseEntry says whether value is a well-formed entry, which nothing below checks again.
func parseEntry(value []byte) (e entry, ok bool) {
	if len(value) <= entryFixed || value[0]>>flagBits != entryVersion {
		return nil, false
	}
	for at := entryFixed; at < len(value); {
		if _, at = entry(value).key(at); at < 0 {
			return nil, false
		}
	}
	return value, true
}

func (e entry) is(flag byte) bool { return e[0]&flag != 0 }
func (e entry) flags() byte       { return e[0] & (1<<flagBits - 1) }

func (e entry) note() note {
	le := binary.LittleEndian
	return note{looks: le.Uint32(e[atLooks:]), removes: le.Uint32(e[atRemoves:]), demotes: le.Uint32(e[atDemotes:])}
}

func (e entry) readAt() int64     { return uint48(e[atRead:]) }
func (e entry) freshUntil() int64 { return e.readAt() + int64(binary.LittleEndian.Uint32(e[atFresh:])) }
func (e entry) refreshAt() int64 {
	return e.readAt() + int64(binary.LittleEndian.Uint32(e[atRefresh:]))
}
func (e entry) filledAt() int64 { return uint48(e[atFilled:]) }

// fill is the beginning of the fill's name.
func (e entry) fill() string { return string(e[atFill:entryFixed]) }

// madeOf says whether the entry was made of this very record.
func (e entry) madeOf(rec *Record) bool {
	return e.filledAt() == rec.FilledAt && strings.HasPrefix(rec.Fill, strings.TrimRight(e.fill(), "\x00"))
}

// decide compares a presented key with every key of the entry, in constant time for each. One that is enabled,
// unexpired and of an enabled organisation allows; else one that fails only by its organisation says suspended; else
// the reason of the last key with that hash is told, for the metrics: clients are not told which.
func (e entry) decide(p *presented, now time.Time) (reason Reason, by entryKey) {
	reason = WrongSecret
	nowMillis := now.UnixMilli()
	for at := entryFixed; at < len(e); {
		var k entryKey
		k, at = e.key(at)
		want := p.hash(k.alg)
		if subtle.ConstantTimeCompare(want[:], k.hash) != 1 {
			continue
		}
		switch {
		case k.flags&flagEnabled == 0:
			reason = max(reason, Revoked)
		case k.flags&flagExpires != 0 && k.expires <= nowMillis:
			reason = max(reason, Expired)
		case k.flags&flagOrgEnabled == 0:
			reason = max(reason, Suspended)
		default:
			return Allowed, k
		}
	}
	return reason, entryKey{}
}

// entryKey is one key of an entry, which it aliases.
type entryKey struct {
	alg     Alg
	flags   byte
	expires int64
	hash    []byte
	org     []byte // 16 bytes with flagOrgUUID, else text
}

// key returns the key at an offset, and the offset after it; -1 if there is no whole one.
func (e entry) key(at int) (k entryKey, after int) {
	if len(e)-at < keyFixed {
		return k, -1
	}
	k = entryKey{alg: Alg(e[at] >> keyFlagBits), flags: e[at] & (1<<keyFlagBits - 1), hash: e[at+1 : at+keyFixed]}
	at += keyFixed
	if k.flags&flagExpires != 0 {
		if len(e)-at < 8 {
			return k, -1
		}
		k.expires = int64(binary.LittleEndian.Uint64(e[at:]))
		at += 8
	}
	size := uuidLength
	if k.flags&flagOrgUUID == 0 {
		if at == len(e) {
			return k, -1
		}
		size = int(e[at])
		at++
	}
	if len(e)-at < size {
		return k, -1
	}
	k.org = e[at : at+size]
	return k, at + size
}

// takeOrg returns the organisation of one of the entry's keys as text. That of a UUID is written over the entry, which
// must be the caller's own and is none afterwards: its bytes are the ones that a hit has been given anyway.
func (e entry) takeOrg(k entryKey) string {
	text := k.org
	if k.flags&flagOrgUUID != 0 {
		text = e[:uuidTextLength]
		unpackUUID(text, [uuidLength]byte(k.org))
	}
	return unsafe.String(unsafe.SliceData(text), len(text))
}

// key is k as the record had it.
func (k entryKey) key() *Key {
	key := &Key{
		OrgID: string(k.org), Hash: Hash(k.hash), Alg: k.alg,
		Enabled: k.flags&flagEnabled != 0, OrgEnabled: k.flags&flagOrgEnabled != 0,
	}
	if k.flags&flagOrgUUID != 0 {
		text := make([]byte, uuidTextLength)
		unpackUUID(text, [uuidLength]byte(k.org))
		key.OrgID = string(text)
	}
	if k.flags&flagExpires != 0 {
		key.ExpiresAt = time.UnixMilli(k.expires)
	}
	return key
}
