package servers

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// children lists the direct children of a process. Postgres puts each into a process group of its own, so that no
// signal to a group reaches them.
func children(parent int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("this needs the /proc of Linux: %w", err)
	}
	var found []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if _, ppid, ok := status(pid); ok && ppid == parent {
			found = append(found, pid)
		}
	}
	return found, nil
}

// alive reports whether a process exists and is no zombie, which holds no memory or socket any more.
func alive(pid int) bool {
	state, _, ok := status(pid)
	return ok && state != "Z"
}

// status reads /proc/PID/stat: "pid (name) state ppid …", where the name may hold anything, parentheses too.
func status(pid int) (state string, ppid int, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, false
	}
	end := bytes.LastIndexByte(text, ')')
	fields := strings.Fields(string(text[end+1:]))
	if end < 0 || len(fields) < 2 {
		return "", 0, false
	}
	ppid, err = strconv.Atoi(fields[1])
	return fields[0], ppid, err == nil
}
