package main

import (
	"fmt"
	"slices"
	"syscall"

	"keygate/shared/limit"
)

// wantedFiles is what a proxy asks for that is to hold maxIdle connections.
const wantedFiles = 40_000

// openFiles is how many files this process and each that it starts may open, made as many as are wanted if possible.
// Setting the limit, even to what it is, has Go hand it on.
func openFiles() (int, error) {
	var rlimit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &rlimit); err != nil {
		return 0, err
	}
	most := max(rlimit.Max, wantedFiles)
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: most, Max: most}) == nil {
		return int(most), nil
	}
	rlimit.Cur = rlimit.Max
	return int(rlimit.Max), syscall.Setrlimit(syscall.RLIMIT_NOFILE, &rlimit)
}

// within leaves out the numbers of connections for which a proxy would want more files than there may be, in favour of
// the most that it takes, and says so.
func within(files int, sizes []float64) (kept []float64, said string) {
	const round = 100
	most := float64(limit.Room(files, 1) / round * round)
	kept = slices.DeleteFunc(slices.Clone(sizes), func(n float64) bool { return n > most })
	if len(kept) < len(sizes) {
		kept = append(kept, most)
		said = fmt.Sprintf("; no further than %g, because processes may open but %d files here", most, files)
	}
	return slices.Compact(kept), said
}
