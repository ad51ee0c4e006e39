package app

import (
	"runtime"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheCacheDoesNotLetGarbageGrow(t *testing.T) {
	const size = 200 << 20
	cache := make([]byte, size)
	runtime.GC()
	if garbage := size / 100 * gcPercent(size); garbage > 2*minGarbage {
		t.Errorf("%d bytes of garbage beside a cache of %d", garbage, size)
	}
	if percent := gcPercent(0); percent != 100 {
		t.Errorf("GOGC is %d where there is no cache", percent)
	}
	runtime.KeepAlive(cache)
}
