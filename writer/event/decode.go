package event

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"keygate/shared/uuid7"
)

// Decode reads one event, {"type": string, "dedup_id"?: string, "payload": object}, from a whole body. The event copies
// what it keeps; orgID must be a string that nobody reuses the memory of.
//
// The error is a *Rejection. Malformed: the body is not one JSON value in valid UTF-8, or more follows it. Invalid: the
// value is not an event, or it breaks one of these rules, which hold for all of it:
//
//   - no object has a member twice, names being compared without escapes;
//   - no string or member name has the escape \u0000 or half a surrogate pair;
//   - no number has more than MaxDigits digits when written out, and those of the payload that have an exponent have
//     at most 64 KiB and eight times the payload's size together;
//   - arrays and objects nest at most MaxDepth deep, the event itself not counted;
//   - type and dedup_id have 1 to MaxName bytes; a dedup_id of null is none.
//
// Whatever is accepted can be stored as jsonb and text in Postgres, and read back. Members with other names are ignored.
// Of several broken rules the first in the text is reported, and a missing member last.
func Decode(body []byte, id uuid7.ID, orgID string) (*Event, error) {
	s := newScanner(body)
	defer s.release()
	e, ok := s.event(id, orgID)
	if !ok || !s.end() {
		return nil, s.malformed
	}
	if s.rejected != nil {
		return nil, s.rejected
	}
	return e, nil
}

// UseKey makes an Idempotency-Key the event's dedup id. The error is a *Rejection: the key breaks the rules for a
// dedup_id, or the event has another one.
func (e *Event) UseKey(key string) error {
	switch {
	case len(key) == 0 || len(key) > MaxName || !utf8.ValidString(key) || strings.IndexByte(key, 0) >= 0:
		return &Rejection{Invalid, "/dedup_id", "the Idempotency-Key must be 1 to 255 bytes of UTF-8 without NUL"}
	case e.DedupID != "" && e.DedupID != key:
		return &Rejection{Invalid, "/dedup_id", "dedup_id and Idempotency-Key differ; send one of them, or the same in both"}
	}
	e.DedupID = strings.Clone(key)
	return nil
}

// event reads the next value as an event. It returns nil if s.rejected says why it is none.
func (s *scanner) event(id uuid7.ID, orgID string) (e *Event, ok bool) {
	if s.peek() != '{' {
		s.reject("an event must be an object")
		return nil, s.value()
	}
	var kind, dedupID, payload []byte
	inside, ok := s.begin()
	for ok && inside {
		switch string(s.name()) {
		case "type":
			kind, ok = s.label(false)
		case "dedup_id":
			dedupID, ok = s.label(true)
		case "payload":
			payload, ok = s.payload()
		default:
			ok = s.value()
		}
		if ok {
			inside, ok = s.next()
		}
	}
	switch {
	case !ok || s.rejected != nil:
		return nil, ok
	case kind == nil:
		s.rejected = &Rejection{Invalid, "/type", "an event must have a type, a string of 1 to 255 bytes"}
		return nil, true
	case payload == nil:
		s.rejected = &Rejection{Invalid, "/payload", "an event must have a payload, an object"}
		return nil, true
	}
	labels := string(kind) + string(dedupID)
	return &Event{
		ID: id, OrgID: orgID, Type: labels[:len(kind)], DedupID: labels[len(kind):], Payload: bytes.Clone(payload),
	}, true
}

// label reads the value of type or dedup_id. It is nil if the value is null or was rejected.
func (s *scanner) label(optional bool) (unescaped []byte, ok bool) {
	if c := s.peek(); c != '"' {
		if c != 'n' || !optional {
			s.reject("must be a string")
		}
		return nil, s.value()
	}
	t, ok := s.text()
	if !ok {
		return nil, false
	}
	unescaped = s.bytes(t.span)
	if t.escaped {
		unescaped = unescape(nil, unescaped)
	}
	switch {
	case t.flaw != "":
		s.reject(t.flaw)
	case len(unescaped) == 0 || len(unescaped) > MaxName:
		s.reject(fmt.Sprintf("must be 1 to %d bytes long, and is %d", MaxName, len(unescaped)))
	}
	return unescaped, true
}

// payload reads the value of payload. It is nil if it was rejected.
func (s *scanner) payload() (raw []byte, ok bool) {
	if s.peek() != '{' {
		s.reject("must be an object")
		return nil, s.value()
	}
	from, before := s.at, s.writtenUp
	ok = s.value()
	raw = s.src[from:s.at]
	if s.writtenUp-before > writtenUpFree+writtenUpRatio*len(raw) {
		s.reject("the numbers with an exponent have too many digits in all when written out; send them as strings")
	}
	return raw, ok
}
