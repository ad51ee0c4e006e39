package auth

import "encoding/hex"

const (
	uuidLength     = 16
	uuidTextLength = 36
)

// uuidParts is where the hyphenated parts of a UUID's text stand, each with the bytes that it spells.
var uuidParts = [...]struct{ text, end, bytes int }{{0, 8, 0}, {9, 13, 4}, {14, 18, 6}, {19, 23, 8}, {24, 36, 10}}

// packUUID returns the bytes of a UUID if text is its usual form, lower-case with hyphens, which unpackUUID gives back.
func packUUID(text string) (id [uuidLength]byte, ok bool) {
	if len(text) != uuidTextLength {
		return id, false
	}
	for _, part := range uuidParts {
		if _, err := hex.Decode(id[part.bytes:], []byte(text[part.text:part.end])); err != nil {
			return id, false
		}
	}
	var back [uuidTextLength]byte
	unpackUUID(back[:], id)
	return id, string(back[:]) == text
}

// unpackUUID writes a UUID's usual form to text.
func unpackUUID(text []byte, id [uuidLength]byte) {
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	for _, part := range uuidParts {
		hex.Encode(text[part.text:part.end], id[part.bytes:part.bytes+(part.end-part.text)/2])
	}
}
