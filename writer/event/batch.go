package event

import (
	"bytes"
	"fmt"

	"keygate/shared/uuid7"
)

// Format is how the items of a batch are told apart.
type Format uint8

// The formats of a batch.
const (
	Array Format = iota // one JSON array
	Lines               // NDJSON: one JSON value on each line
)

// Item is one item of a batch: an event, or why it is none.
type Item struct {
	Event     *Event     // nil if rejected
	Rejection *Rejection // nil if accepted
}

// DecodeBatch reads 1 to MaxBatch events from a whole body, each by the rules of Decode, and returns an item for each in
// order. Item i gets id.Item(i). A rejected item does not affect the others; its pointer starts at the item.
//
// The error is a *Rejection of kind BatchMalformed, for the whole body: there are no items or too many, or they cannot
// be told apart. In an Array that is so whenever the body is not one JSON array in valid UTF-8, wherever the fault is:
// the items of an array are at most Invalid. Lines are told apart by line feeds alone, so a Malformed line is an item's
// rejection, with byte offsets that start at the line. Blank lines are skipped and not counted.
func DecodeBatch(body []byte, format Format, id uuid7.ID, orgID string) ([]Item, error) {
	decode := decodeArray
	if format == Lines {
		decode = decodeLines
	}
	items, malformed := decode(body, id, orgID)
	if malformed != nil {
		return nil, malformed
	}
	if len(items) == 0 {
		return nil, malformedBatch("the batch is empty; send 1 to %d events", MaxBatch)
	}
	return items, nil
}

func decodeArray(body []byte, id uuid7.ID, orgID string) (items []Item, malformed *Rejection) {
	s := newScanner(body)
	defer s.release()
	if s.peek() != '[' {
		s.fail("expected an array of events")
		return nil, malformedBatch("%s", s.malformed.Detail)
	}
	s.at++
	more := s.peek() != ']'
	if !more {
		s.at++
	}
	for more {
		if len(items) == MaxBatch {
			return nil, tooManyItems()
		}
		e, ok := s.event(id.Item(len(items)), orgID)
		if !ok {
			return nil, malformedBatch("item %d: %s", len(items), s.malformed.Detail)
		}
		items = append(items, Item{Event: e, Rejection: s.rejected})
		s.reset()
		if more, ok = s.nextItem(); !ok {
			return nil, malformedBatch("after item %d: %s", len(items)-1, s.malformed.Detail)
		}
	}
	if !s.end() {
		return nil, malformedBatch("%s", s.malformed.Detail)
	}
	return items, nil
}

// nextItem reads what follows an item of the batch's own array, which is no open container of the scanner, so that
// pointers start at the item.
func (s *scanner) nextItem() (more, ok bool) {
	c := s.peek()
	if c != ',' && c != ']' {
		return false, s.fail("expected a comma or a closing bracket")
	}
	s.at++
	return c == ',', true
}

func decodeLines(body []byte, id uuid7.ID, orgID string) (items []Item, malformed *Rejection) {
	for line := range bytes.SplitSeq(body, []byte("\n")) {
		if len(bytes.Trim(line, " \t\r")) == 0 {
			continue
		}
		if len(items) == MaxBatch {
			return nil, tooManyItems()
		}
		e, err := Decode(line, id.Item(len(items)), orgID)
		rejection, _ := err.(*Rejection)
		items = append(items, Item{Event: e, Rejection: rejection})
	}
	return items, nil
}

func tooManyItems() *Rejection {
	return malformedBatch("the batch has more than %d events; send them in several requests", MaxBatch)
}

func malformedBatch(format string, args ...any) *Rejection {
	return &Rejection{Kind: BatchMalformed, Detail: fmt.Sprintf(format, args...)}
}
