// The race detector keeps memory of its own for each byte.
//go:build !race

package memstore_test

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
)

// What is reserved costs nothing until it is written to, so that the system is asked what is resident, not the heap.
func TestBytesPerKey(t *testing.T) {
	const keys = 200_000
	before := resident(t)
	s := open(t, 256<<20)
	if reserved := resident(t) - before; reserved > 8<<20 {
		t.Errorf("an empty store takes %d bytes", reserved)
	}
	var buffer []byte
	for i := range keys {
		buffer = prefix(buffer, i)
		s.Set(buffer, entry)
	}
	each := (resident(t) - before) / keys
	if s.Len() != keys {
		t.Fatalf("%d keys are kept", s.Len())
	}
	t.Logf("%d bytes a key, %d of them the entry and its prefix", each, len(entry)+21)
	if each > 200 {
		t.Errorf("%d bytes a key", each)
	}
	runtime.KeepAlive(s)
}

// resident returns the bytes of this process that are in memory, without what is free.
func resident(tb testing.TB) int {
	tb.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		tb.Fatal(err)
	}
	pages, err := strconv.Atoi(string(bytes.Fields(text)[1]))
	if err != nil {
		tb.Fatal(err)
	}
	return pages * os.Getpagesize()
}
