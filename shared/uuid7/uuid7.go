// Package uuid7 mints and reads the ids that name events.
//
// An id is a UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, 12 bits rand_a, 62 random bits. keygate keeps
// rand_a zero in the id of a request and puts the item's number there for the items of a batch, so that the
// proxy mints one id per request and both sides can derive the same ids again on a retry.
package uuid7

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"sync"
	"time"
)

// MaxItem is the largest item number that fits the 12 bits of rand_a.
const MaxItem = 1<<12 - 1

// ErrMalformed reports text that is no UUIDv7 in its canonical, hyphenated form.
var ErrMalformed = errors.New("not a UUIDv7")

// ID is a UUIDv7 in network byte order. Two ids compare in the order of their milliseconds.
type ID [16]byte

// Mint returns a new id for the millisecond of t, with rand_a zero.
func Mint(t time.Time) ID {
	var id ID
	drawRandom(id[8:])
	ms := uint64(t.UnixMilli())
	binary.BigEndian.PutUint16(id[0:], uint16(ms>>32))
	binary.BigEndian.PutUint32(id[2:], uint32(ms))
	id[6] = 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// entropy is random bytes that were asked for in advance: asking for those of each id takes longer than all else.
type entropy struct {
	bytes [512]byte
	used  int
}

var entropies = sync.Pool{New: func() any { return &entropy{used: len(entropy{}.bytes)} }}

// drawRandom fills dst, and forgets what it gives out: no later reader of memory is to tell an id from before.
func drawRandom(dst []byte) {
	e := entropies.Get().(*entropy)
	if e.used+len(dst) > len(e.bytes) {
		rand.Read(e.bytes[:])
		e.used = 0
	}
	drawn := e.bytes[e.used:][:len(dst)]
	copy(dst, drawn)
	clear(drawn)
	e.used += len(dst)
	entropies.Put(e)
}

// Item returns the id of item i (0 to MaxItem) of the batch that id names.
func (id ID) Item(i int) ID {
	binary.BigEndian.PutUint16(id[6:], 0x7000|uint16(i)&MaxItem)
	return id
}

// Time returns the millisecond in the id, in UTC.
func (id ID) Time() time.Time {
	ms := int64(binary.BigEndian.Uint16(id[0:]))<<32 | int64(binary.BigEndian.Uint32(id[2:]))
	return time.UnixMilli(ms).UTC()
}

// AppendText appends the canonical form to dst. It never fails.
func (id ID) AppendText(dst []byte) ([]byte, error) {
	var text [36]byte
	hex.Encode(text[0:8], id[0:4])
	hex.Encode(text[9:13], id[4:6])
	hex.Encode(text[14:18], id[6:8])
	hex.Encode(text[19:23], id[8:10])
	hex.Encode(text[24:36], id[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return append(dst, text[:]...), nil
}

// String returns the canonical form, 36 lower-case characters.
func (id ID) String() string {
	text, _ := id.AppendText(make([]byte, 0, 36))
	return string(text)
}

// Parse reads the canonical form, in either case. Anything else, and any UUID of another version, is ErrMalformed.
func Parse(text []byte) (ID, error) {
	var id ID
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return ID{}, ErrMalformed
	}
	at := 0
	for _, part := range [...][]byte{text[0:8], text[9:13], text[14:18], text[19:23], text[24:36]} {
		n, err := hex.Decode(id[at:], part)
		if err != nil {
			return ID{}, ErrMalformed
		}
		at += n
	}
	if id[6]>>4 != 7 || id[8]>>6 != 2 {
		return ID{}, ErrMalformed
	}
	return id, nil
}
