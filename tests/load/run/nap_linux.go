package run

import (
	"syscall"
	"time"
)

// nap sleeps in the kernel: on Linux time.Sleep is up to a millisecond late, this some 60 µs.
func nap(d time.Duration) {
	request := syscall.NsecToTimespec(int64(d))
	// An interrupted sleep is a shorter one, and the caller looks at the clock again by itself.
	_ = syscall.Nanosleep(&request, nil)
}
