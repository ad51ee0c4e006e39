//go:build linux && !race

package poll

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// look finds what is there, or comes within patience, by a system call that the scheduler is not told of. It finds nothing
// where Linux does not know that call, or forbids it: wait is for that, and for errors.
func look(epoll int, events []unix.EpollEvent, patience time.Duration) int {
	timeout := unix.NsecToTimespec(patience.Nanoseconds())
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(epoll),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), uintptr(unsafe.Pointer(&timeout)), 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}
