//go:build unix

package limit

import (
	"math"
	"syscall"
)

// openFiles is how many files the process may open. Go's runtime has raised it as far as the process is allowed to.
func openFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt32
	}
	return int(min(limit.Cur, math.MaxInt32))
}
