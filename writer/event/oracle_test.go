package event_test

import (
	"bytes"
	"encoding/json"
	"io"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// What follows judges a document by encoding/json and plain, slow code, to compare with the scanner.

// verdict is what an independent reading says about a document.
type verdict struct {
	json     bool // encoding/json accepts it, and it is UTF-8
	storable bool // no rule about values is broken; meaningless if surrogates is set
	halves   bool // it has escapes of surrogates, which encoding/json does not tell from U+FFFD if they are halves
}

var surrogate = regexp.MustCompile(`(?i)\\ud[89a-f]`)

// judge reads a document whose outermost container does not count towards the depth if it is an event.
func judge(doc []byte, maxDepth int) verdict {
	v := verdict{json: json.Valid(doc) && utf8.Valid(doc), storable: true, halves: surrogate.Match(doc)}
	if !v.json {
		return v
	}
	decoder := json.NewDecoder(bytes.NewReader(doc))
	decoder.UseNumber()
	type container struct {
		names map[string]bool // nil for an array
		named bool            // the next token is a value
	}
	var open []container
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			return v
		}
		if err != nil {
			v.json = false // deeper than encoding/json reads
			return v
		}
		if name, ok := token.(string); ok && len(open) > 0 && open[len(open)-1].names != nil && !open[len(open)-1].named {
			top := &open[len(open)-1]
			v.storable = v.storable && !top.names[name] && !strings.Contains(name, "\x00")
			top.names[name], top.named = true, true
			continue
		}
		if len(open) > 0 {
			open[len(open)-1].named = false
		}
		switch token := token.(type) {
		case json.Delim:
			switch token {
			case '{':
				open = append(open, container{names: map[string]bool{}})
			case '[':
				open = append(open, container{})
			default:
				open = open[:len(open)-1]
			}
			v.storable = v.storable && len(open) <= maxDepth
		case string:
			v.storable = v.storable && !strings.Contains(token, "\x00")
		case json.Number:
			v.storable = v.storable && writtenOut(string(token)) <= 1000
		}
	}
}

// writtenOut writes the number out and counts its digits. Numbers too long to write out count as a million.
func writtenOut(number string) int {
	mantissa, power, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(number, "-")), "e")
	whole, frac, _ := strings.Cut(mantissa, ".")
	exponent := 0
	if power != "" {
		var err error
		if exponent, err = strconv.Atoi(power); err != nil || exponent > 100_000 || exponent < -100_000 {
			return 1_000_000
		}
	}
	if strings.Trim(whole+frac, "0") == "" {
		return 1 + max(0, len(frac)-exponent)
	}
	if exponent > len(frac) {
		frac += strings.Repeat("0", exponent-len(frac))
	}
	if -exponent > len(whole) {
		whole = strings.Repeat("0", -exponent-len(whole)) + whole
	}
	if exponent >= 0 {
		whole, frac = whole+frac[:exponent], frac[exponent:]
	} else {
		whole, frac = whole[:len(whole)+exponent], whole[len(whole)+exponent:]+frac
	}
	return max(1, len(strings.TrimLeft(whole, "0"))) + len(frac)
}

// tree decodes a document that was accepted.
func tree(doc []byte) any {
	decoder := json.NewDecoder(bytes.NewReader(doc))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return err
	}
	return value
}

// equal compares trees, numbers as fractions.
func equal(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		other, ok := b.(map[string]any)
		if !ok || len(a) != len(other) {
			return false
		}
		for name, value := range a {
			if counterpart, ok := other[name]; !ok || !equal(value, counterpart) {
				return false
			}
		}
		return true
	case []any:
		other, ok := b.([]any)
		if !ok || len(a) != len(other) {
			return false
		}
		for i := range a {
			if !equal(a[i], other[i]) {
				return false
			}
		}
		return true
	case json.Number:
		other, ok := b.(json.Number)
		if !ok {
			return false
		}
		x, okX := new(big.Rat).SetString(string(a))
		y, okY := new(big.Rat).SetString(string(other))
		return okX && okY && x.Cmp(y) == 0
	default:
		return a == b
	}
}
