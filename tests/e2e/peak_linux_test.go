package e2e

import (
	"fmt"
	"os"
	"strings"
)

// peakMemory is the most memory that was ever resident of a process, in bytes.
func peakMemory(pid int) (peak int64, known bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	_, err = fmt.Sscan(after, &peak)
	return peak << 10, err == nil
}
