package event

import (
	"bytes"
	"fmt"
	"sync"
)

// A scanner reads JSON (RFC 8259) in one pass and applies the rules for what can be stored as it goes.
//
// It refuses in two ways. Where the text is no JSON, fail notes why and every method returns ok = false: reading ends.
// Where a rule is broken, reject notes the first and reading goes on, so that the end of every value is known and so that
// a text which is no JSON is always called that, whatever else is wrong with it.
type scanner struct {
	src  []byte
	at   int // the next byte of src
	base int // where src begins in the body

	open   []byte  // the closing bracket of every open container, outermost first; a byte each, for there may be millions
	frames []frame // the first MaxDepth+1 of them, the event itself included
	names  []span  // the member names read so far in those frames, outermost first
	large  []large // those of the frames that are objects of many members

	unescaped []byte // names that had escapes; a span addresses them as if they followed src
	writtenUp int    // digits that numbers with an exponent would have, written out

	accepted bool // the text was accepted before, so no member is there twice

	malformed *Rejection
	rejected  *Rejection
}

// A frame is an open container that may hold accepted values.
type frame struct {
	names int32 // how many names there were when it was opened
	index int32 // of the current item of an array; inObject for an object
}

const inObject = -1

// Made once, for a text can break the rule a million times.
var tooDeep = fmt.Sprintf("nested too deeply; send at most %d levels of objects and arrays", MaxDepth)

// A span is a range of src, or of unescaped behind it. 32 bits are enough: bodies are a few MiB, and halving the span
// matters for an object of a million members.
type span struct{ from, to uint32 }

var scanners = sync.Pool{New: func() any { return new(scanner) }}

// newScanner returns a scanner at the start of src, to be given back by release.
func newScanner(src []byte) *scanner {
	s := scanners.Get().(*scanner)
	s.src = src
	return s
}

// release gives the scanner back, unless an unusual document made it large.
func (s *scanner) release() {
	const usual = 1024
	if cap(s.open) > usual || cap(s.names) > usual || cap(s.unescaped) > usual {
		return
	}
	s.reset()
	s.src, s.at, s.base, s.malformed, s.accepted = nil, 0, 0, nil, false
	scanners.Put(s)
}

// reset forgets everything about the value read last, for the next one in the same src.
func (s *scanner) reset() {
	s.open, s.frames, s.names, s.large, s.unescaped = s.open[:0], s.frames[:0], s.names[:0], nil, s.unescaped[:0]
	s.writtenUp, s.rejected = 0, nil
}

// value reads the next value with everything in it.
func (s *scanner) value() (ok bool) {
	around := len(s.open)
	inside, ok := s.begin()
	for ok && len(s.open) > around {
		if inside {
			inside, ok = s.begin()
		} else {
			inside, ok = s.next()
		}
	}
	return ok
}

// begin reads a scalar or an empty container whole, and of any other container the beginning: then it returns inside and
// is at the container's first value, after the name if it is an object's.
func (s *scanner) begin() (inside, ok bool) {
	switch s.peek() {
	case '"':
		t, ok := s.text()
		if t.flaw != "" {
			s.reject(t.flaw)
		}
		return false, ok
	case '{':
		s.push('}', inObject)
		if s.peek() == '}' {
			s.pop()
			return false, true
		}
		return true, s.member()
	case '[':
		s.push(']', 0)
		if s.peek() == ']' {
			s.pop()
			return false, true
		}
		return true, true
	case 't':
		return false, s.literal("true")
	case 'f':
		return false, s.literal("false")
	case 'n':
		return false, s.literal("null")
	default:
		return false, s.number()
	}
}

// next reads what follows a value in the innermost open container. It returns inside when another value follows, and is
// at it, after the name if it is an object's; else the container has ended.
func (s *scanner) next() (inside, ok bool) {
	closer := s.open[len(s.open)-1]
	switch s.peek() {
	case closer:
		s.pop()
		return false, true
	case ',':
		s.at++
		if closer == '}' {
			return true, s.member()
		}
		if len(s.frames) == len(s.open) {
			s.frames[len(s.frames)-1].index++
		}
		return true, true
	}
	if closer == '}' {
		return false, s.fail("expected a comma or a closing brace")
	}
	return false, s.fail("expected a comma or a closing bracket")
}

// member reads a member's name and colon.
func (s *scanner) member() (ok bool) {
	if s.peek() != '"' {
		return s.fail("expected a member name in double quotes")
	}
	t, ok := s.text()
	if !ok {
		return false
	}
	if len(s.frames) == len(s.open) {
		s.enter(t)
	}
	if s.peek() != ':' {
		return s.fail("expected a colon after the member name")
	}
	s.at++
	return true
}

// end makes sure that nothing but white space follows.
func (s *scanner) end() (ok bool) {
	s.peek()
	return s.at == len(s.src) || s.fail("expected nothing after the value")
}

// peek skips white space and returns the byte that follows, or 0 at the end, which no JSON has outside of strings.
func (s *scanner) peek() byte {
	if s.at < len(s.src) && s.src[s.at] > ' ' {
		return s.src[s.at]
	}
	return s.peekBehindSpace()
}

// peekBehindSpace is apart so that peek, called for every token, is inlined.
func (s *scanner) peekBehindSpace() byte {
	for ; s.at < len(s.src); s.at++ {
		switch c := s.src[s.at]; c {
		case ' ', '\n', '\r', '\t':
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) literal(word string) (ok bool) {
	if !bytes.HasPrefix(s.src[s.at:], []byte(word)) {
		return s.fail("expected a value")
	}
	s.at += len(word)
	return true
}

func (s *scanner) push(closer byte, index int32) {
	s.at++
	if len(s.open) <= MaxDepth {
		s.frames = append(s.frames, frame{names: int32(len(s.names)), index: index})
	} else {
		s.reject(tooDeep)
	}
	s.open = append(s.open, closer)
}

func (s *scanner) pop() {
	s.at++
	last := len(s.open) - 1
	if last < len(s.frames) {
		s.names = s.names[:s.frames[last].names]
		s.frames = s.frames[:last]
		if n := len(s.large) - 1; n >= 0 && s.large[n].frame == last {
			s.large = s.large[:n]
		}
	}
	s.open = s.open[:last]
}

// fail ends the reading: the text is no JSON. It returns false.
func (s *scanner) fail(expected string) (ok bool) {
	switch {
	case s.at >= len(s.src):
		expected = "it ends too early"
	case s.base+s.at == 0 && bytes.HasPrefix(s.src, []byte("\ufeff")):
		expected = "send it without a byte order mark"
	}
	detail := fmt.Sprintf("not valid JSON at byte offset %d: %s", s.base+s.at, expected)
	s.malformed = &Rejection{Kind: Malformed, Detail: detail}
	return false
}

// reject notes that the current value breaks a rule.
func (s *scanner) reject(detail string) { s.rejectAt(len(s.frames), detail) }

// rejectAt is reject for a container around the current value; depth is the number of tokens of its pointer.
func (s *scanner) rejectAt(depth int, detail string) {
	if s.rejected == nil {
		s.rejected = &Rejection{Kind: Invalid, Pointer: s.pointer(depth), Detail: detail}
	}
}
