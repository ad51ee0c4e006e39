//go:build linux && race

package poll

import (
	"time"

	"golang.org/x/sys/unix"
)

// look is a call of Go's own, in which the race detector sees what orders two goroutines. It does not wait.
func look(epoll int, events []unix.EpollEvent, _ time.Duration) int {
	n, _ := unix.EpollWait(epoll, events, 0)
	return max(n, 0)
}
