package main

import (
	"hash/crc32"
	"strings"

	"keygate/proxy/apikey"
)

// keyKind says which keys a crowd presents.
type keyKind string

const (
	goodKind    keyKind = "good"
	unknownKind keyKind = "unknown"
	wrongKind   keyKind = "wrong"
)

// source returns what makes the i-th key.
func (k keyKind) source(good []string) func(i int) string {
	switch k {
	case goodKind:
		return func(i int) string { return good[i%len(good)] }
	case wrongKind:
		return wrongSecrets(good)
	}
	return unknown
}

// unknown returns a well-formed key that is nobody's.
func unknown(int) string {
	text, _, err := apikey.Mint("zap", "live")
	if err != nil {
		panic(err) // the labels are right
	}
	return text
}

// wrongSecrets returns well-formed keys with the prefixes of others and secrets that are not theirs.
func wrongSecrets(good []string) func(int) string {
	const secret = 32
	return func(i int) string {
		own, other := good[i%len(good)], unknown(i)
		prefix := strings.LastIndexByte(own, '_')
		body := own[:prefix] + other[prefix:prefix+1+secret]
		return body + checksum(body)
	}
}

// checksum is what a key of keygate's own format ends in.
func checksum(body string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum, text := crc32.ChecksumIEEE([]byte(body)), make([]byte, 6)
	for i := len(text) - 1; i >= 0; i-- {
		text[i] = digits[sum%62]
		sum /= 62
	}
	return string(text)
}
