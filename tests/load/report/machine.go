package report

import (
	"os"
	"runtime"
	"strings"
)

// Machine is where the run took place: figures mean nothing without it.
type Machine struct {
	Cores int    `json:"cores"` // that this process may use
	Model string `json:"model"`
	OS    string `json:"os"`
	Go    string `json:"go"`
}

func thisMachine() Machine {
	return Machine{
		Cores: runtime.GOMAXPROCS(0), Model: cpuModel(), OS: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
	}
}

// cpuModel is what Linux calls the processor; elsewhere it is not known.
func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(info)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
