// Package build says which build of keygate is running.
package build

import "runtime/debug"

// Version is set when the release is linked: -ldflags '-X keygate/shared/build.Version=v1.2.3'. Read it with Info,
// which knows better when it is empty.
var Version string

// Details name a build. An unknown part is empty.
type Details struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"` // followed by "+changes" when the work tree was not clean
	Go      string `json:"go"`
}

// Info returns the details of the running program: Version, or else what the Go tool recorded of the module.
func Info() Details {
	recorded, ok := debug.ReadBuildInfo()
	if !ok {
		recorded = &debug.BuildInfo{}
	}
	return details(Version, recorded)
}

func details(linked string, recorded *debug.BuildInfo) Details {
	d := Details{Version: linked, Go: recorded.GoVersion}
	changed := false
	for _, setting := range recorded.Settings {
		switch setting.Key {
		case "vcs.revision":
			d.Commit = setting.Value
		case "vcs.modified":
			changed = setting.Value == "true"
		}
	}
	if d.Commit != "" && changed {
		d.Commit += "+changes"
	}
	if d.Version == "" {
		d.Version = recorded.Main.Version
	}
	if d.Version == "" || d.Version == "(devel)" {
		d.Version = "development"
	}
	return d
}

// String is for a `--version` line: "v1.2.3 (commit 0123abc, go1.26.8)".
func (d Details) String() string {
	text := d.Version + " ("
	if d.Commit != "" {
		text += "commit " + d.Commit + ", "
	}
	return text + d.Go + ")"
}
