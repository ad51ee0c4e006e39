package memstore_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keygate/proxy/auth"
	"keygate/proxy/auth/authtest"
	"keygate/proxy/auth/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(tb testing.TB, size int) *memstore.Store {
	tb.Helper()
	s, err := memstore.Open(memstore.Config{MaxBytes: size, Forget: time.Hour})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func TestStoreKeepsItsContract(t *testing.T) {
	authtest.TestMemory(t, func(t *testing.T) auth.Memory { return open(t, 1<<20) })
}

// entry is as large as that of one key with a UUID organization, and prefix is of our own format.
var entry = make([]byte, 86)

func prefix(buffer []byte, i int) []byte { return fmt.Appendf(buffer[:0], "zap_live_%012d", i) }

// live returns the bytes in use on the heap.
func live() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// Writing the same keys again and again must reuse the space of what was overwritten.
func TestChurnStopsGrowingAtTheLimit(t *testing.T) {
	const size, keys = 16 << 20, 20_000
	before := live()
	s := open(t, size)
	var buffer []byte
	var settled int
	for round := range 30 {
		for i := range keys {
			buffer = prefix(buffer, i)
			s.Set(buffer, entry)
		}
		if round == 14 {
			settled = live() - before
		}
	}
	after := live() - before
	if after > settled+settled/20 || after > 3*size/2 {
		t.Errorf("%d bytes after 15 rounds, %d after 30, for a limit of %d", settled, after, size)
	}
	for i := range keys {
		if _, ok := s.Get(prefix(buffer, i)); !ok {
			t.Fatalf("key %d was dropped, although all keys take a third of the room", i)
		}
	}
	runtime.KeepAlive(s)
}

// What the limit allows for is used: nothing is dropped while less than nine tenths of it are taken.
func TestTheLimitIsUsed(t *testing.T) {
	const size = 8 << 20
	s := open(t, size)
	const each = 18 + 2 + 21 // of bigcache's header and the prefix
	count := size * 8 / 10 / (len(entry) + each)
	var buffer []byte
	for i := range count {
		s.Set(prefix(buffer, i), entry)
	}
	if kept := s.Len(); kept < count*99/100 {
		t.Errorf("%d of %d entries are kept in %d bytes", kept, count, size)
	}
}

func BenchmarkStore(b *testing.B) {
	s := open(b, 64<<20)
	const keys = 100_000
	for i := range keys {
		s.Set(prefix(nil, i), entry)
	}
	b.Run("op=get", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			var buffer []byte
			for i := 0; pb.Next(); i++ {
				buffer = prefix(buffer, i%keys)
				if _, ok := s.Get(buffer); !ok {
					b.Error("absent")
					return
				}
			}
		})
	})
	b.Run("op=set", func(b *testing.B) {
		b.ReportAllocs()
		var buffer []byte
		for i := 0; b.Loop(); i++ {
			buffer = prefix(buffer, i%keys)
			s.Set(buffer, entry)
		}
	})
}
