//go:build linux && !race

package poll

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// look finds what is there, or comes within patience, by a system call that the scheduler is not told of. Linux before 5.11
// does not know the call that can wait for less than a millisecond: then it does not wait.
func look(epoll int, events []unix.EpollEvent, patience time.Duration) int {
	timeout := [2]int64{0, patience.Nanoseconds()} // the kernel's timespec, on every architecture
	first, most := unsafe.Pointer(unsafe.SliceData(events)), uintptr(len(events))
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(epoll), uintptr(first), most,
		uintptr(unsafe.Pointer(&timeout)), 0, 0)
	if errno != 0 {
		n, _, errno = syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(first), most, 0, 0, 0)
	}
	if errno != 0 {
		return 0
	}
	return int(n)
}
