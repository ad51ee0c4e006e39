package apikey_test

import (
	"hash/crc32"
	"testing"

	"keygate/proxy/apikey"
)

func minted(tb testing.TB) []byte {
	tb.Helper()
	key, _, err := apikey.Mint("zap", "live")
	if err != nil {
		tb.Fatal(err)
	}
	return []byte(key)
}

// BenchmarkSplit has beside it the checksum alone.
func BenchmarkSplit(b *testing.B) {
	key := minted(b)
	b.Run("by=apikey", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := (apikey.Format{}).Split(key); !ok {
				b.Fatal("refused")
			}
		}
	})
	b.Run("by=crc32-alone", func(b *testing.B) {
		var sum uint32
		for b.Loop() {
			sum += crc32.ChecksumIEEE(key[:len(key)-6])
		}
		_ = sum
	})
}

// Every request's key is split, and so is every guess.
func TestSplittingAllocatesNothing(t *testing.T) {
	for _, key := range [][]byte{minted(t), []byte("nothing like a key"), []byte(fixed)} {
		if got := testing.AllocsPerRun(1000, func() { (apikey.Format{}).Split(key) }); got != 0 {
			t.Errorf("%q: %v allocations", key, got)
		}
	}
}
