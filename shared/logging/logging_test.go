package logging_test

import (
	"encoding/json"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"keygate/shared/logging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLinesBelowTheLevelAreLeftOut(t *testing.T) {
	for level, want := range map[string]int{"debug": 4, "info": 3, "warn": 2, "error": 1} {
		var out strings.Builder
		logger, err := logging.New(level, "text", &out)
		if err != nil {
			t.Fatal(err)
		}
		logger.Debug("a")
		logger.Info("b")
		logger.Warn("c")
		logger.Error("d")
		if got := strings.Count(out.String(), "\n"); got != want {
			t.Errorf("%s: %d lines, want %d", level, got, want)
		}
	}
}

func TestTheFormatIsTextOrJSON(t *testing.T) {
	for format, readable := range map[string]func(string) bool{
		"text": func(line string) bool { return strings.Contains(line, `msg=started listen=:8080`) },
		"json": func(line string) bool {
			var got struct{ Msg, Listen string }
			return json.Unmarshal([]byte(line), &got) == nil && got.Msg == "started" && got.Listen == ":8080"
		},
	} {
		var out strings.Builder
		logger, err := logging.New("info", format, &out)
		if err != nil {
			t.Fatal(err)
		}
		logger.Info("started", "listen", ":8080")
		if !readable(out.String()) {
			t.Errorf("%s: %s", format, out.String())
		}
	}
}

func TestBadSettingsAreASentence(t *testing.T) {
	for _, c := range []struct{ level, format, want string }{
		{"loud", "text", `LOG_LEVEL is "loud"; it has to be debug, info, warn or error`},
		{"", "text", `LOG_LEVEL is ""; it has to be debug, info, warn or error`},
		{"info", "xml", `LOG_FORMAT is "xml"; it has to be text or json`},
	} {
		if _, err := logging.New(c.level, c.format, nil); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}
