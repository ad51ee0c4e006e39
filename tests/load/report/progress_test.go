package report

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keygate/tests/load/hist"
)

func shown(tb testing.TB, terminal bool) string {
	tb.Helper()
	var out strings.Builder
	synctest.Test(tb.(*testing.T), func(t *testing.T) {
		timeline, begin := hist.NewTimeline(), time.Now()
		var slot hist.Slot
		slot.Latency.Record(5 * time.Millisecond)
		timeline.Add(&slot, 1500*time.Millisecond, 1500*time.Millisecond)
		p := Progress{
			Out: &out, Terminal: terminal, Label: "load", Timeline: timeline, Total: 400,
			Counts: func() (ok, failed int64) { return time.Since(begin).Milliseconds() / 10, 2 },
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		p.Show(ctx)
	})
	return out.String()
}

func TestElsewhereProgressIsALineASecond(t *testing.T) {
	want := "load       1.0 s   26 %  102 requests/s  p50 5.00 ms  p99 5.00 ms  failed 2\n" +
		"load       2.0 s   50 %  100 requests/s  p50 5.00 ms  p99 5.00 ms  failed 2\n"
	if got := shown(t, false); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestOnATerminalProgressIsOneLineThatGoesAway(t *testing.T) {
	got := shown(t, true)
	if strings.Contains(got, "\n") || strings.Count(got, "\r") != 13 || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("got %q", got)
	}
}
