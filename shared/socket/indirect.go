//go:build !linux || race

package socket

import "syscall"

// Read and Write are those of Go elsewhere, and for the race detector, which takes them for what orders two goroutines.
func Read(fd uintptr, p []byte) (int, error)  { return call(syscall.Read, fd, p) }
func Write(fd uintptr, p []byte) (int, error) { return call(syscall.Write, fd, p) }

func call(f func(fd int, p []byte) (int, error), fd uintptr, p []byte) (int, error) {
	for {
		n, err := f(int(fd), p)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}
