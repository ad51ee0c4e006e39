package trust_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"
)

// BenchmarkSignature has beside it the cryptography alone: the same bytes through a hash that is kept.
func BenchmarkSignature(b *testing.B) {
	b.Run("by=trust", func(b *testing.B) {
		s, now := parse(b, first), time.Now()
		var buf []byte
		b.ReportAllocs()
		for b.Loop() {
			buf = s.AppendSignature(buf[:0], claim(), now)
		}
	})
	b.Run("by=hmac-alone", func(b *testing.B) {
		mac, c := hmac.New(sha256.New, []byte(first)), claim()
		message := "1764000000\n" + string(c.Org) + "\n" + string(c.ID) + "\n" + string(c.Method) + "\n" + string(c.Target)
		signed := []byte(message)
		var sum, text []byte
		b.ReportAllocs()
		for b.Loop() {
			mac.Reset()
			mac.Write(signed)
			sum = mac.Sum(sum[:0])
			text = hex.AppendEncode(text[:0], sum)
		}
	})
}
