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

// A Batch decodes 1 to MaxBatch events from a body, each by the rules of Decode, as the body's pieces are written to it.
// Item i gets id.Item(i). A rejected item does not affect the others; its pointer starts at the item. How the body is cut
// into pieces changes nothing. What it holds are the events, and of the body what belongs to no whole item yet.
type Batch struct {
	format Format
	id     uuid7.ID
	orgID  string

	items     []Item
	malformed *Rejection // nothing is decoded or kept any more
	rest      []byte     // of the pieces: the beginning of an item
	base      int        // where in the body rest begins
	tried     int        // so much of rest was in vain
	phase     phase      // of an Array
}

// NewBatch returns an empty Batch. orgID must be a string that nobody reuses the memory of.
func NewBatch(format Format, id uuid7.ID, orgID string) *Batch {
	return &Batch{format: format, id: id, orgID: orgID}
}

// Write decodes what piece completes. It keeps nothing of piece itself, and never fails.
func (b *Batch) Write(piece []byte) (int, error) {
	switch {
	case b.malformed != nil:
	case b.format == Lines:
		b.writeLines(piece)
	default:
		b.writeArray(piece)
	}
	return len(piece), nil
}

// Items ends the body and returns an item for each of its items, in order. It is called once.
//
// The error is a *Rejection of kind BatchMalformed, for the whole body: there are no items or too many, or they cannot
// be told apart. In an Array that is so whenever the body is not one JSON array in valid UTF-8, wherever the fault is:
// the items of an array are at most Invalid. Lines are told apart by line feeds alone, so a Malformed line is an item's
// rejection, with byte offsets that start at the line. Blank lines are skipped and not counted.
func (b *Batch) Items() ([]Item, error) {
	switch {
	case b.malformed != nil:
	case b.format == Lines:
		b.line(b.rest)
	default:
		b.decode(b.rest, true)
	}
	if b.malformed == nil && len(b.items) == 0 {
		b.refuse("the batch is empty; send 1 to %d events", MaxBatch)
	}
	if b.malformed != nil {
		return nil, b.malformed
	}
	return b.items, nil
}

func (b *Batch) writeLines(piece []byte) {
	for b.malformed == nil {
		end := bytes.IndexByte(piece, '\n')
		if end < 0 {
			b.rest = append(b.rest, piece...)
			return
		}
		line := piece[:end]
		if len(b.rest) > 0 {
			line = append(b.rest, line...)
			b.rest = line[:0]
		}
		b.line(line)
		piece = piece[end+1:]
	}
}

func (b *Batch) line(line []byte) {
	if len(bytes.Trim(line, " \t\r")) == 0 || b.full() {
		return
	}
	e, err := Decode(line, b.id.Item(len(b.items)), b.orgID)
	rejection, _ := err.(*Rejection)
	b.items = append(b.items, Item{Event: e, Rejection: rejection})
}

// writeArray decodes straight from the piece, unless an item began before it. An item that is larger than a piece is
// tried again each time that what there is of it has doubled, so that all tries together cost no more than two.
func (b *Batch) writeArray(piece []byte) {
	if len(b.rest) > 0 {
		b.rest = append(b.rest, piece...)
		if len(b.rest) < 2*b.tried {
			return
		}
		piece = b.rest
	}
	decoded := b.decode(piece, false)
	if b.malformed != nil {
		return
	}
	b.rest = append(b.rest[:0], piece[decoded:]...)
	b.base += decoded
	b.tried = len(b.rest)
}

// phase is what comes next in an array.
type phase uint8

const (
	atOpening phase = iota
	atFirst         // item, or the end
	atItem
	atEnd
)

// lookahead is as far as the scanner looks from where it may fail: two escapes that make a surrogate pair are longest.
const lookahead = 12

// decode decodes whole items, with what follows them, and returns how far it came. More of the body may follow src unless
// it is the last: then nothing is malformed that could go on behind it.
func (b *Batch) decode(src []byte, last bool) (decoded int) {
	s := newScanner(src)
	defer s.release()
	s.base = b.base
	for {
		decoded = s.at
		next, about, ok := b.step(s)
		switch {
		case b.malformed != nil:
			return decoded
		case !ok && !last && s.at+lookahead > len(src):
			return decoded
		case !ok:
			b.refuse("%s%s", about, s.malformed.Detail)
			return decoded
		case next == atEnd && b.phase == atEnd:
			return s.at
		}
		b.phase = next
	}
}

// step reads what comes next. Where that fails, about says what the scanner's complaint is about.
func (b *Batch) step(s *scanner) (next phase, about string, ok bool) {
	switch c := s.peek(); b.phase {
	case atOpening:
		if c != '[' {
			return 0, "", s.fail("expected an array of events")
		}
		s.at++
		return atFirst, "", true
	case atFirst:
		if c == ']' {
			s.at++
			return atEnd, "", true
		}
		return atItem, "item 0: ", s.at < len(s.src) || s.fail("")
	case atItem:
		return b.item(s)
	default:
		return atEnd, "", s.end()
	}
}

func (b *Batch) item(s *scanner) (next phase, about string, ok bool) {
	if b.full() {
		return 0, "", false
	}
	number := len(b.items)
	s.reset()
	e, ok := s.event(b.id.Item(number), b.orgID)
	if !ok {
		return 0, fmt.Sprintf("item %d: ", number), false
	}
	item := Item{Event: e, Rejection: s.rejected}
	switch s.peek() {
	case ',':
		next = atItem
	case ']':
		next = atEnd
	default:
		return 0, fmt.Sprintf("after item %d: ", number), s.fail("expected a comma or a closing bracket")
	}
	s.at++
	b.items = append(b.items, item)
	return next, "", true
}

// full refuses a batch that has another item than it may have.
func (b *Batch) full() bool {
	if len(b.items) == MaxBatch {
		b.refuse("the batch has more than %d events; send them in several requests", MaxBatch)
	}
	return b.malformed != nil
}

func (b *Batch) refuse(format string, args ...any) {
	b.malformed = &Rejection{Kind: BatchMalformed, Detail: fmt.Sprintf(format, args...)}
	b.items, b.rest = nil, nil
}
