package event_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A writer of random JSON. It writes each value of a seed in another spelling every time: its white space, order of
// members, escapes and forms of numbers come from spelling, everything else from content.
type randomJSON struct {
	content, spelling *rand.Rand
}

func newRandomJSON(content, spelling uint64) randomJSON {
	return randomJSON{rand.New(rand.NewPCG(content, 1)), rand.New(rand.NewPCG(spelling, 2))}
}

// object returns an object of random members, containing at most depth-1 levels of others.
func (r randomJSON) object(depth int) string {
	count := r.content.IntN(5)
	if r.content.IntN(50) == 0 {
		count = 30 + r.content.IntN(20)
	}
	members := make([]string, count)
	for i := range members {
		name := r.text(fmt.Sprintf("%c%x", r.content.IntN(26)+'a', i)) // the number makes it the only one
		members[i] = name + r.space() + ":" + r.value(depth-1)
	}
	r.spelling.Shuffle(count, func(i, j int) { members[i], members[j] = members[j], members[i] })
	return "{" + r.space() + strings.Join(members, ",") + "}"
}

func (r randomJSON) value(depth int) string {
	kinds := 8
	if depth <= 0 {
		kinds = 5
	}
	return r.space() + func() string {
		switch r.content.IntN(kinds) {
		case 0:
			return []string{"true", "false", "null"}[r.content.IntN(3)]
		case 1:
			return r.text(r.characters())
		case 2, 3, 4:
			return r.number()
		case 5:
			items := make([]string, r.content.IntN(5))
			for i := range items {
				items[i] = r.value(depth - 1)
			}
			return "[" + r.space() + strings.Join(items, ",") + "]"
		default:
			return r.object(depth)
		}
	}() + r.space()
}

func (r randomJSON) space() string {
	return []string{"", "", "", " ", "\n", "\t\r\n"}[r.spelling.IntN(6)]
}

// characters returns text with a liking for what parsers trip over.
func (r randomJSON) characters() string {
	nasty := []rune{'"', '\\', '/', '\b', '\f', '\n', '\r', '\t', 1, 0x1f, 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xfeff,
		0xfffd, 0xfffe, 0xffff, 0x10000, 0x10ffff, 'é', '中', '😀', '\u0301', '<', '&', '\u2028', '}', ']', ',', ':'}
	text := make([]rune, r.content.IntN(12))
	for i := range text {
		if text[i] = rune('a' + r.content.IntN(26)); r.content.IntN(3) == 0 {
			text[i] = nasty[r.content.IntN(len(nasty))]
		}
	}
	return string(text)
}

// text writes a string, with random characters escaped.
func (r randomJSON) text(characters string) string {
	var out strings.Builder
	short := map[rune]string{'"': `\"`, '\\': `\\`, '/': `\/`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}
	for _, c := range characters {
		choice := r.spelling.IntN(8)
		switch escape, ok := short[c]; {
		case ok && choice > 3:
			out.WriteString(escape)
		case c >= 0x10000 && choice > 3:
			fmt.Fprintf(&out, `\u%04x\u%04X`, 0xd800+(c-0x10000)>>10, 0xdc00+(c-0x10000)&0x3ff)
		case c < 0x10000 && choice == 3, c < ' ', c == '"', c == '\\':
			fmt.Fprintf(&out, `\u%04x`, c)
		default:
			out.WriteRune(c)
		}
	}
	return `"` + out.String() + `"`
}

// number writes sign, digits and exponent, with the point and zeros in random places.
func (r randomJSON) number() string {
	count := 1 + r.content.IntN(6)
	if r.content.IntN(40) == 0 {
		count = 1 + r.content.IntN(400)
	}
	digits := make([]byte, count)
	for i := range digits {
		digits[i] = '0' + byte(r.content.IntN(10)*r.content.IntN(2))
	}
	exponent := r.content.IntN(12) - 6
	if r.content.IntN(40) == 0 {
		exponent = r.content.IntN(900) - 450
	}
	sign := []string{"", "-"}[r.content.IntN(2)]

	text := string(digits)
	if zeros := r.spelling.IntN(4); zeros > 1 {
		text += strings.Repeat("0", zeros)
		exponent -= zeros
	}
	if point := r.spelling.IntN(len(text)); point > 0 && r.spelling.IntN(2) == 0 {
		exponent += len(text) - point
		text = text[:point] + "." + text[point:]
	}
	whole, frac, decimals := strings.Cut(text, ".")
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	if decimals {
		whole += "." + frac
	}
	switch {
	case exponent == 0 && r.spelling.IntN(2) == 0:
		return sign + whole
	case exponent > 0 && !decimals && exponent < 10 && whole != "0" && r.spelling.IntN(2) == 0:
		return sign + whole + strings.Repeat("0", exponent)
	default:
		return sign + whole + []string{"e", "E"}[r.spelling.IntN(2)] +
			[]string{fmt.Sprintf("%d", exponent), fmt.Sprintf("%+03d", exponent)}[r.spelling.IntN(2)]
	}
}
