package event

import (
	"bytes"
	"slices"
)

// Same reports whether two events are the same event sent twice: their types are equal, and their payloads are equal as
// JSON values. Members may be in any order, numbers are equal by value (1, 1.0 and 10e-1; 0 and -0) at any precision,
// strings by the text they stand for, arrays item by item. White space does not matter.
//
// The payloads are those of Events, or what a database gave back for them, in whatever spelling. Anything else is safe to
// pass: a payload that is no JSON, nests too deeply or holds a string or number that Decode refuses is the same only as
// its own bytes, and one with a member twice is the same as any with the same members as often.
func Same(typeA string, payloadA []byte, typeB string, payloadB []byte) bool {
	if typeA != typeB {
		return false
	}
	if bytes.Equal(payloadA, payloadB) {
		return true
	}
	a, okA := canonical(payloadA)
	b, okB := canonical(payloadB)
	return okA && okB && bytes.Equal(a, b)
}

// canonical returns bytes that are the same for every spelling of a JSON value and for no other value. The form is for
// comparing only: the first byte of a value tells its kind, and what has no fixed length ends in a byte that UTF-8 does
// not have, so that no two sequences of values read alike. It is about as long as the payload, or shorter.
func canonical(payload []byte) (form []byte, ok bool) {
	s := newScanner(payload)
	defer s.release()
	s.accepted = true
	c := canoniser{scanner: s, form: make([]byte, 0, len(payload)+len(payload)/8)}
	if !c.writeValue() || !s.end() {
		return nil, false
	}
	return c.form, true
}

const endOfValue = 0xff

// A canoniser writes the canonical form of what its scanner reads.
type canoniser struct {
	*scanner
	form    []byte
	members []span // of form: the members so far of the open objects, outermost first
	sorted  []byte // the members of one object, while they are put in order
}

// writeValue writes the next value. Its recursion ends at MaxDepth, where the scanner rejects.
func (c *canoniser) writeValue() (ok bool) {
	first := c.peek()
	from := c.at
	inside, ok := c.begin()
	if !ok || c.rejected != nil {
		return false
	}
	switch literal := c.src[from:c.at]; first {
	case '{':
		return c.writeObject(inside)
	case '[':
		return c.writeArray(inside)
	case '"':
		c.form = append(c.form, '"')
		c.form = unescape(c.form, literal[1:len(literal)-1])
		c.form = append(c.form, endOfValue)
	case 't', 'f', 'n':
		c.form = append(c.form, first)
	default:
		c.form, ok = appendNumber(c.form, literal)
		c.form = append(c.form, endOfValue)
	}
	return ok
}

func (c *canoniser) writeArray(inside bool) (ok bool) {
	c.form = append(c.form, '[')
	for ok = true; ok && inside; {
		if !c.writeValue() {
			return false
		}
		inside, ok = c.next()
	}
	c.form = append(c.form, ']')
	return ok
}

func (c *canoniser) writeObject(inside bool) (ok bool) {
	c.form = append(c.form, '{')
	outer := len(c.members)
	for ok = true; ok && inside; {
		from := len(c.form)
		c.form = append(c.form, '"')
		c.form = append(c.form, c.name()...)
		c.form = append(c.form, endOfValue)
		if !c.writeValue() {
			return false
		}
		c.members = append(c.members, span{uint32(from), uint32(len(c.form))})
		inside, ok = c.next()
	}
	c.sort(c.members[outer:])
	c.members = c.members[:outer]
	c.form = append(c.form, '}')
	return ok
}

// sort puts the members at the end of form in the order of their bytes, so of their names. A byte is moved once for each
// object around it, so at most MaxDepth times.
func (c *canoniser) sort(members []span) {
	if len(members) == 0 {
		return
	}
	from := members[0].from
	byBytes := func(a, b span) int { return bytes.Compare(c.form[a.from:a.to], c.form[b.from:b.to]) }
	if slices.IsSortedFunc(members, byBytes) {
		return
	}
	slices.SortFunc(members, byBytes)
	c.sorted = slices.Grow(c.sorted[:0], len(c.form)-int(from))
	for _, m := range members {
		c.sorted = append(c.sorted, c.form[m.from:m.to]...)
	}
	copy(c.form[from:], c.sorted)
}
