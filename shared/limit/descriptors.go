package limit

import "fmt"

const (
	// reserved are for everything else: databases, Redis, operators, files. No more than a quarter of a small number.
	reserved = 256
	// most is where the default ends: a connection holds some 64 KiB while a goroutine serves it, and so many of them 4 GiB.
	most = 65_536
)

// Room is how many connections there are files for when each may take that many besides itself: connections to an upstream.
func Room(files, behind int) int { return (files - min(reserved, files/4)) / (1 + behind) }

// Total is how many connections are allowed where somebody asks for that many, 0 being the default: as many as the
// process has Room for, and at most 65,536. To ask for more than there is room for is an error.
func Total(asked, behind int) (int, error) {
	descriptors := openFiles()
	room := Room(descriptors, behind)
	switch {
	case asked > room:
		return 0, fmt.Errorf("%d connections need more than the %d files that this process may open: "+
			"allow at most %d, or raise that limit (ulimit -n, LimitNOFILE=)", asked, descriptors, room)
	case asked == 0:
		return min(room, most), nil
	}
	return asked, nil
}
