package build

import (
	"runtime"
	"runtime/debug"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func recorded(version, commit, modified string) *debug.BuildInfo {
	return &debug.BuildInfo{
		GoVersion: "go1.26.8", Main: debug.Module{Version: version},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: commit}, {Key: "vcs.modified", Value: modified}},
	}
}

func TestTheLinkedVersionWinsOverTheRecordedOne(t *testing.T) {
	for _, c := range []struct {
		linked   string
		recorded *debug.BuildInfo
		want     string
	}{
		{"v1.2.3", recorded("v1.0.0", "0123abc", "false"), "v1.2.3 (commit 0123abc, go1.26.8)"},
		{"", recorded("v1.0.0", "0123abc", "true"), "v1.0.0 (commit 0123abc+changes, go1.26.8)"},
		{"", recorded("(devel)", "", "false"), "development (go1.26.8)"},
		{"", recorded("", "", "true"), "development (go1.26.8)"},
	} {
		if got := details(c.linked, c.recorded).String(); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestTheRunningProgramKnowsItsGo(t *testing.T) {
	if got := Info(); got.Go != runtime.Version() || got.Version == "" {
		t.Errorf("got %+v", got)
	}
}
