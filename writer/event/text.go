package event

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// What Postgres accepts in no string, whether of jsonb or of text.
const (
	flawNUL       = `\u0000 cannot be stored; leave the character out`
	flawSurrogate = `half of a surrogate pair cannot be stored; send both escapes, or the character itself`
)

// A text is a string as it was read, without its quotes.
type text struct {
	span
	escaped bool
	flaw    string // why it cannot be stored, or ""
}

// text reads the string that begins at the current byte.
func (s *scanner) text() (t text, ok bool) {
	t.from = uint32(s.at + 1)
	s.at = plainUntil(s.src, s.at+1)
	for s.at < len(s.src) {
		switch c := s.src[s.at]; {
		case c == '"':
			t.to = uint32(s.at)
			s.at++
			return t, true
		case c == '\\':
			flaw, ok := s.escape()
			if !ok {
				return t, false
			}
			t.escaped = true
			if t.flaw == "" {
				t.flaw = flaw
			}
		case c < ' ':
			return t, s.fail("control characters in a string must be escaped")
		default:
			if !s.beyondASCII() {
				return t, s.fail("the string is not valid UTF-8")
			}
		}
		s.at = plainUntil(s.src, s.at)
	}
	return t, s.fail("")
}

// beyondASCII reads characters up to the next one that is ASCII.
func (s *scanner) beyondASCII() (ok bool) {
	for s.at < len(s.src) && s.src[s.at] >= utf8.RuneSelf {
		r, size := utf8.DecodeRune(s.src[s.at:])
		if r == utf8.RuneError && size == 1 {
			return false
		}
		s.at += size
	}
	return true
}

// escape reads one escape, or two that are a surrogate pair.
func (s *scanner) escape() (flaw string, ok bool) {
	rest := s.src[s.at:]
	if len(rest) < 2 {
		s.at = len(s.src)
		return "", s.fail("")
	}
	if rest[1] != 'u' {
		if bytes.IndexByte([]byte(`"\/bfnrt`), rest[1]) < 0 {
			return "", s.fail("no such escape")
		}
		s.at += 2
		return "", true
	}
	r, size := unicodeEscape(rest)
	switch {
	case size == 0:
		return "", s.fail(`expected four hexadecimal digits after \u`)
	case r == 0:
		flaw = flawNUL
	case utf16.IsSurrogate(r):
		flaw = flawSurrogate
	}
	s.at += size
	return flaw, true
}

const (
	everyByte = 0x0101010101010101
	highBits  = 0x80 * everyByte
)

// plainUntil returns the first index from at on of a byte that needs a closer look in a string: a quote, a backslash, a
// control character or part of a character that is not ASCII. It takes eight bytes at a time: each term sets the high
// bit of such a byte, and of others only above the lowest such byte, which is the one that counts.
func plainUntil(src []byte, at int) int {
	for ; at+8 <= len(src); at += 8 {
		w := binary.LittleEndian.Uint64(src[at:])
		control := w - ' '*everyByte
		quote := (w ^ '"'*everyByte) - everyByte
		backslash := (w ^ '\\'*everyByte) - everyByte
		if special := (w | control | quote | backslash) & highBits; special != 0 {
			return at + bits.TrailingZeros64(special)/8
		}
	}
	for at < len(src) && src[at] >= ' ' && src[at] < utf8.RuneSelf && src[at] != '"' && src[at] != '\\' {
		at++
	}
	return at
}

// unescape appends to dst the text of a string that the scanner has read.
func unescape(dst, raw []byte) []byte {
	for {
		next := bytes.IndexByte(raw, '\\')
		if next < 0 {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:next]...)
		raw = raw[next:]
		size := 2
		switch c := raw[1]; c {
		case 'u':
			var r rune
			r, size = unicodeEscape(raw)
			dst = utf8.AppendRune(dst, r)
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		default:
			dst = append(dst, c)
		}
		raw = raw[size:]
	}
}

// unicodeEscape reads the \uXXXX that src begins with, and the one after it if the two are a surrogate pair. It returns
// the character and the bytes read; half a pair is returned as it stands, and size 0 means that digits are missing.
func unicodeEscape(src []byte) (r rune, size int) {
	first, ok := hex4(src)
	if !ok {
		return 0, 0
	}
	if utf16.IsSurrogate(first) && len(src) >= 8 && src[6] == '\\' && src[7] == 'u' {
		if second, ok := hex4(src[6:]); ok {
			if pair := utf16.DecodeRune(first, second); pair != utf8.RuneError {
				return pair, 12
			}
		}
	}
	return first, 6
}

func hex4(src []byte) (r rune, ok bool) {
	if len(src) < 6 {
		return 0, false
	}
	for _, c := range src[2:6] {
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}
