package limit

import "fmt"

const (
	// reserved are for everything else: databases, Redis, operators, files. No more than a quarter of a small number.
	reserved = 256
	// most is where the default ends: a connection holds some 64 KiB while it is open, and so many of them 4 GiB.
	most = 65_536
)

// Total is how many connections are allowed where somebody asks for that many, 0 being the default: as many as the
// process has file descriptors for when each may take that many behind it, and at most 65,536. To ask for more than there
// are descriptors for is an error.
func Total(asked, behind int) (int, error) {
	descriptors := openFiles()
	room := (descriptors - min(reserved, descriptors/4)) / (1 + behind)
	switch {
	case asked > room:
		return 0, fmt.Errorf("%d connections need more than the %d files that this process may open: "+
			"allow at most %d, or raise that limit (ulimit -n, LimitNOFILE=)", asked, descriptors, room)
	case asked == 0:
		return min(room, most), nil
	}
	return asked, nil
}
