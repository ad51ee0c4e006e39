//go:build !race

package socket

import (
	"syscall"
	"unsafe"
)

// most is how many bytes one call moves: copying them takes some 10 µs, and a collection of garbage that stops the
// program waits for the calls that the scheduler does not know of.
const most = 64 << 10

// Read and Write make one system call on a non-blocking socket, which may give or take less than p holds. An error is a
// syscall.Errno.
func Read(fd uintptr, p []byte) (int, error)  { return direct(syscall.SYS_READ, fd, p) }
func Write(fd uintptr, p []byte) (int, error) { return direct(syscall.SYS_WRITE, fd, p) }

func direct(call, fd uintptr, p []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(min(len(p), most)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
