package report

import (
	"os"
	"runtime"
	"runtime/debug"
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

// commit is the revision that this program was built from, marked if the work tree differed from it.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, modified := "unknown", ""
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision":
			revision = setting.Value
		case setting.Key == "vcs.modified" && setting.Value == "true":
			modified = "+modified"
		}
	}
	return revision + modified
}
