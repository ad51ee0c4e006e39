// Package memory tells the garbage collector what the container allows. Go sees by itself how many processors a control
// group gives (GOMAXPROCS), but not how much memory.
package memory

import (
	"bufio"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// Heed makes nine tenths of the control group's limit a soft limit of the process, so that it rather collects garbage more
// often than be killed. The rest is for what the collector does not count. It leaves alone what GOMEMLIMIT says.
func Heed() {
	if _, given := os.LookupEnv("GOMEMLIMIT"); given {
		return
	}
	if limit := limitIn(os.DirFS("/")); limit < math.MaxInt64 {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

// limitIn returns the lowest limit of the process's control group and those around it, of version 2 or 1. In a container
// the path may be the one outside, of which only the root exists inside.
func limitIn(root fs.FS) int64 {
	limit := int64(math.MaxInt64)
	groups, err := root.Open("proc/self/cgroup")
	if err != nil {
		return limit
	}
	defer groups.Close()
	for lines := bufio.NewScanner(groups); lines.Scan(); {
		fields := strings.SplitN(lines.Text(), ":", 3)
		if len(fields) != 3 {
			continue
		}
		mount, file := "sys/fs/cgroup", "memory.max"
		if fields[1] == "memory" {
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if fields[1] != "" {
			continue
		}
		for group := path.Join("/", fields[2]); ; group = path.Dir(group) {
			limit = min(limit, read(root, path.Join(mount, group, file)))
			if group == "/" {
				break
			}
		}
	}
	return limit
}

// read returns the number in a file; "max" and a file that is not there are no limit.
func read(root fs.FS, name string) int64 {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return math.MaxInt64
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n <= 0 {
		return math.MaxInt64
	}
	return n
}
