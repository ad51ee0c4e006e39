package sqlitesink_test

import (
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keygate/shared/database"
	"keygate/writer/commit"
	"keygate/writer/sinktest"
	"keygate/writer/sqlitesink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	sinktest.Run(t, emptyFile, open)
}

func emptyFile(tb testing.TB) database.URL {
	tb.Helper()
	return sinktest.ParseURL(tb, "sqlite:"+filepath.Join(tb.TempDir(), "keygate.db"))
}

func open(tb testing.TB, u database.URL) commit.Sink {
	tb.Helper()
	sink := sqlitesink.New(u.Path())
	tb.Cleanup(func() {
		if err := sink.Close(); err != nil {
			tb.Error(err)
		}
	})
	return sink
}

func TestTwoCommittersAnswerTheTruth(t *testing.T) {
	sinktest.Stress(t, emptyFile(t), open, 200, time.Second)
}

func BenchmarkInsert(b *testing.B) {
	u := emptyFile(b)
	sinktest.Migrate(b, u)
	sinktest.Bench(b, open(b, u))
}
