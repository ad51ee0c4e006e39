package event

import (
	"bytes"
	"fmt"
	"strconv"
)

const (
	// maxExponent is far beyond what a number of MaxDigits needs, and far below 2^30, where Postgres gives up on a number
	// even if it is zero.
	maxExponent = 100_000

	// Postgres gives numbers back written out, so that 6 bytes of `1e999,` become 1,000, and a payload of a few MiB could
	// be stored but is then more than the 1 GB that Postgres can return of one value. What exponents add is therefore
	// bounded: plenty for measurements in any unit, and a batch read back stays within tens of MiB.
	writtenUpFree  = 64 << 10
	writtenUpRatio = 8
)

// Made once, for a text can break the rule a million times.
var tooManyDigits = fmt.Sprintf("the number has more than %d digits when written out; send it as a string", MaxDigits)

// number reads a number.
func (s *scanner) number() (ok bool) {
	from := s.at
	if s.at < len(s.src) && s.src[s.at] == '-' {
		s.at++
	}
	switch first := s.at; {
	case !s.digits():
		if s.at == from {
			return s.fail("expected a value")
		}
		return s.fail("expected a digit")
	case s.src[first] == '0' && s.at > first+1:
		s.at = first + 1
		return s.fail("a number has no leading zero")
	}
	if s.at < len(s.src) && s.src[s.at] == '.' {
		s.at++
		if !s.digits() {
			return s.fail("expected a digit after the point")
		}
	}
	exponent := s.at < len(s.src) && (s.src[s.at] == 'e' || s.src[s.at] == 'E')
	if exponent {
		s.at++
		if s.at < len(s.src) && (s.src[s.at] == '+' || s.src[s.at] == '-') {
			s.at++
		}
		if !s.digits() {
			return s.fail("expected a digit in the exponent")
		}
	}
	if exponent || s.at-from > MaxDigits {
		s.checkDigits(s.src[from:s.at], exponent)
	}
	return true
}

// digits reads a run of digits and reports whether there was one.
func (s *scanner) digits() bool {
	from := s.at
	for s.at < len(s.src) && s.src[s.at]-'0' <= 9 {
		s.at++
	}
	return s.at > from
}

func (s *scanner) checkDigits(literal []byte, exponent bool) {
	d, ok := takeApart(literal)
	if !ok || d.writtenOut() > MaxDigits {
		s.reject(tooManyDigits)
		return
	}
	if exponent {
		s.writtenUp += d.writtenOut()
	}
}

// A decimal is a JSON number taken apart: ± whole.frac × 10^exp. It aliases the text.
type decimal struct {
	negative    bool
	whole, frac []byte
	exp         int
}

// takeApart returns ok = false if the exponent is beyond maxExponent. The literal is one that the scanner has read.
func takeApart(literal []byte) (d decimal, ok bool) {
	if literal[0] == '-' {
		d.negative, literal = true, literal[1:]
	}
	d.whole = literal
	if e := bytes.IndexAny(literal, "eE"); e >= 0 {
		d.whole = literal[:e]
		for i, c := range literal[e+1:] {
			if i == 0 && (c == '+' || c == '-') {
				continue
			}
			if d.exp = 10*d.exp + int(c-'0'); d.exp > maxExponent {
				return d, false
			}
		}
		if literal[e+1] == '-' {
			d.exp = -d.exp
		}
	}
	if point := bytes.IndexByte(d.whole, '.'); point >= 0 {
		d.whole, d.frac = d.whole[:point], d.whole[point+1:]
	}
	return d, true
}

// writtenOut is the number of digits that Postgres gives back: without an exponent, without leading zeros, and with all
// decimals that were given.
func (d decimal) writtenOut() int {
	zeros := leadingZeros(d.whole)
	if zeros == len(d.whole) {
		zeros += leadingZeros(d.frac)
	}
	before := 1
	if zeros < len(d.whole)+len(d.frac) {
		before = max(before, len(d.whole)+d.exp-zeros)
	}
	return before + max(0, len(d.frac)-d.exp)
}

// appendNumber appends a form of the number that is the same for all literals of that value and for no other: sign,
// digits without the zeros at either end, and where the point is, counted from the first of them, unless it is after the
// last. However large the exponent, the form is about as long as the literal.
func appendNumber(dst, literal []byte) (_ []byte, ok bool) {
	d, ok := takeApart(literal)
	if !ok {
		return dst, false
	}
	start := len(dst)
	if d.negative {
		dst = append(dst, '-')
	}
	sign := len(dst)
	dst = append(dst, bytes.TrimLeft(d.whole, "0")...)
	point := len(dst) - sign + d.exp
	if len(dst) > sign {
		dst = append(dst, d.frac...)
	} else {
		zeros := leadingZeros(d.frac)
		point -= zeros
		dst = append(dst, d.frac[zeros:]...)
	}
	for len(dst) > sign && dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	switch digits := len(dst) - sign; digits {
	case 0:
		return append(dst[:start], '0'), true
	case point:
		return dst, true
	}
	dst = append(dst, 'e')
	return strconv.AppendInt(dst, int64(point), 10), true
}

func leadingZeros(digits []byte) int { return len(digits) - len(bytes.TrimLeft(digits, "0")) }
