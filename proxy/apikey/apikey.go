// Package apikey knows what API keys look like: it mints keys of our own format and splits presented keys, so that
// garbage is refused without a look-up.
//
// Our own format is <brand>_<env>_<12 base62 public id>_<32 base62 secret><6 base62 checksum>. Everything before the
// last underscore is the prefix: it finds the key, is not secret and may be logged. The checksum is CRC-32 (IEEE) of
// all bytes before it, in big-endian base62 padded with "0"; it refuses typing errors, and is no protection.
package apikey

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"hash/crc32"
)

const (
	publicLength   = 12 // base62: 71 bits, so that public ids never meet by chance
	secretLength   = 32 // base62: 190 bits
	checksumLength = 6  // base62 holds 32 bits in six digits
	maxLabel       = 16

	// MinForeignPrefix is the shortest prefix that a foreign format may have: shorter ones make too few buckets.
	MinForeignPrefix = 8
	// minForeignSecret is what must follow a foreign prefix: with less, guessing the rest would be feasible.
	minForeignSecret = 16
	// MaxLength bounds a presented key in bytes, so that a cache key is always short.
	MaxLength = 512
)

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Format splits presented keys. The zero value is our own format.
type Format struct {
	// ForeignPrefix is how many leading bytes of a key of an existing API are its prefix; 0 means our own format.
	ForeignPrefix int
}

// Split returns the prefix of key, which aliases key. False means that key is malformed: no such key can exist.
func (f Format) Split(key []byte) (prefix []byte, ok bool) {
	if len(key) > MaxLength {
		return nil, false
	}
	if f.ForeignPrefix > 0 {
		return splitForeign(key, f.ForeignPrefix)
	}
	return splitOwn(key)
}

func splitForeign(key []byte, length int) ([]byte, bool) {
	if len(key) < length+minForeignSecret {
		return nil, false
	}
	for _, c := range key {
		if c <= ' ' || c >= 0x7f {
			return nil, false
		}
	}
	return key[:length], true
}

func splitOwn(key []byte) ([]byte, bool) {
	last := bytes.LastIndexByte(key, '_')
	if last < 0 || len(key)-last-1 != secretLength+checksumLength || !isBase62(key[last+1:]) {
		return nil, false
	}
	body := key[:len(key)-checksumLength]
	if checksum(body) != [checksumLength]byte(key[len(body):]) {
		return nil, false
	}
	prefix := key[:last]
	brand, rest, _ := bytes.Cut(prefix, []byte("_"))
	env, public, _ := bytes.Cut(rest, []byte("_"))
	if !isLabel(brand) || !isLabel(env) || len(public) != publicLength || !isBase62(public) {
		return nil, false
	}
	return prefix, true
}

// Mint returns a new key and its prefix. Brand and env are 1 to 16 base62 characters.
func Mint(brand, env string) (key, prefix string, err error) {
	for _, label := range [...]string{brand, env} {
		if !isLabel([]byte(label)) {
			return "", "", fmt.Errorf("%q cannot be part of a key: use 1 to %d characters of 0-9, A-Z, a-z", label, maxLabel)
		}
	}
	text := fmt.Appendf(nil, "%s_%s_", brand, env)
	text = appendRandom(text, publicLength)
	prefix = string(text)
	text = append(text, '_')
	text = appendRandom(text, secretLength)
	sum := checksum(text)
	return string(append(text, sum[:]...)), prefix, nil
}

// appendRandom appends n base62 digits. Bytes of 248 and more are drawn again: 248 is the largest multiple of 62 that
// fits a byte, and taking the rest too would make some digits more likely.
func appendRandom(dst []byte, n int) []byte {
	var pool [64]byte
	for {
		rand.Read(pool[:])
		for _, b := range pool {
			if n == 0 {
				return dst
			}
			if b < 248 {
				dst = append(dst, alphabet[b%62])
				n--
			}
		}
	}
}

func checksum(body []byte) (text [checksumLength]byte) {
	sum := crc32.ChecksumIEEE(body)
	for i := checksumLength - 1; i >= 0; i-- {
		text[i] = alphabet[sum%62]
		sum /= 62
	}
	return text
}

func isLabel(text []byte) bool { return len(text) >= 1 && len(text) <= maxLabel && isBase62(text) }

// base62 is 1 for the bytes of the alphabet. What a processor guesses about random characters is wrong as often as not,
// so that to look each up is four times faster than to compare.
var base62 = func() (is [256]uint8) {
	for _, c := range []byte(alphabet) {
		is[c] = 1
	}
	return is
}()

func isBase62(text []byte) bool {
	all := uint8(1)
	for _, c := range text {
		all &= base62[c]
	}
	return all == 1
}
