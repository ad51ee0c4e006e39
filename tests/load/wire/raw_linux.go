package wire

import (
	"syscall"
	"unsafe"
)

// read and write are for sockets that do not block, so that the scheduler need not be told: to leave the processor to
// others for the few microseconds of the call costs nearly one of them.
func read(fd int, b []byte) (int, error)  { return raw(syscall.SYS_READ, fd, b) }
func write(fd int, b []byte) (int, error) { return raw(syscall.SYS_WRITE, fd, b) }

func raw(call uintptr, fd int, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
