package event

import (
	"bytes"
	"strconv"
)

// Kind is what was wrong with a request's body.
type Kind uint8

// The kinds of rejection.
const (
	Malformed      Kind = iota + 1 // not JSON: 400 malformed_json
	Invalid                        // JSON, but not an event that can be stored: 422 invalid_event
	BatchMalformed                 // the items of a batch cannot be told apart, or are none or too many: 400 batch_malformed
)

// maxPointer bounds what an answer repeats of a client's member names. It is generous for any document that a person
// wrote, and keeps a rejection small when a name is megabytes long.
const maxPointer = 1024

// Rejection says why an event or a batch was not accepted, and what the client should change.
type Rejection struct {
	Kind Kind
	// Pointer is the JSON pointer (RFC 6901) to the offending value of an Invalid event, from the event's own root. It
	// names the object when a member's name is what is wrong with it, and the nearest ancestor whose pointer fits in
	// 1,024 bytes when its own does not. It is empty for the other kinds.
	Pointer string
	// Detail tells what is expected. Byte offsets in it count from 0, at the start of the body or of the NDJSON line.
	Detail string
}

var _ error = (*Rejection)(nil)

func (r *Rejection) Error() string {
	if r.Pointer == "" {
		return r.Detail
	}
	return r.Pointer + ": " + r.Detail
}

// pointer returns the JSON pointer to the value that the scanner is at, or to one of the containers around it: depth is
// the number of tokens wanted.
func (s *scanner) pointer(depth int) string {
	var text []byte
	for i, f := range s.frames[:depth] {
		whole := len(text)
		text = append(text, '/')
		if f.index != inObject {
			text = strconv.AppendInt(text, int64(f.index), 10)
		} else {
			text = append(text, escapeToken(s.lastName(i))...)
		}
		if len(text) > maxPointer {
			return string(text[:whole])
		}
	}
	return string(text)
}

// lastName returns the name read last in the open object whose frame is number i.
func (s *scanner) lastName(i int) []byte {
	top := len(s.names)
	if i+1 < len(s.frames) {
		top = int(s.frames[i+1].names)
	}
	return s.bytes(s.names[top-1])
}

func escapeToken(name []byte) []byte {
	if bytes.ContainsAny(name, "~/") {
		name = bytes.ReplaceAll(name, []byte("~"), []byte("~0"))
		name = bytes.ReplaceAll(name, []byte("/"), []byte("~1"))
	}
	return name
}
