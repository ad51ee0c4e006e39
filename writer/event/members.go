package event

import (
	"bytes"
	"hash/maphash"
)

// manyNames is where looking through the names of an object gives way to a set of their hashes: below, a set costs more
// than it saves; above, looking through them would make an object of n members cost n².
const manyNames = 32

// large is an object of many members.
type large struct {
	frame int                 // its number
	seen  map[uint64]struct{} // hashes of its names
}

// nameSeed keeps clients from choosing names that collide.
var nameSeed = maphash.MakeSeed()

// enter notes a member of the innermost frame, and rejects it if the object has one of that name already. Names are
// compared as they read without escapes.
func (s *scanner) enter(t text) {
	if t.flaw != "" {
		s.rejectAt(len(s.frames)-1, "a member name: "+t.flaw)
	}
	name := t.span
	if t.escaped {
		raw := s.bytes(t.span)
		name.from = uint32(len(s.src) + len(s.unescaped))
		s.unescaped = unescape(s.unescaped, raw)
		name.to = uint32(len(s.src) + len(s.unescaped))
	}
	twice := s.rejected == nil && !s.accepted && s.twice(name)
	s.names = append(s.names, name)
	if twice {
		s.reject("the object has this member twice; send it once")
	}
}

// twice reports whether the innermost frame has the name already.
func (s *scanner) twice(name span) bool {
	innermost := len(s.frames) - 1
	before := s.names[s.frames[innermost].names:]
	if len(before) < manyNames {
		return s.among(before, name)
	}
	if n := len(s.large); n == 0 || s.large[n-1].frame != innermost {
		seen := make(map[uint64]struct{}, 2*manyNames)
		for _, earlier := range before {
			seen[maphash.Bytes(nameSeed, s.bytes(earlier))] = struct{}{}
		}
		s.large = append(s.large, large{frame: innermost, seen: seen})
	}
	seen := s.large[len(s.large)-1].seen
	known := len(seen)
	seen[maphash.Bytes(nameSeed, s.bytes(name))] = struct{}{}
	return len(seen) == known && s.among(before, name)
}

func (s *scanner) among(names []span, name span) bool {
	text := s.bytes(name)
	for _, other := range names {
		if other.to-other.from == name.to-name.from && bytes.Equal(s.bytes(other), text) {
			return true
		}
	}
	return false
}

// name returns the name of the current member of the innermost frame.
func (s *scanner) name() []byte { return s.bytes(s.names[len(s.names)-1]) }

func (s *scanner) bytes(where span) []byte {
	if size := uint32(len(s.src)); where.from >= size {
		return s.unescaped[where.from-size : where.to-size]
	}
	return s.src[where.from:where.to]
}
