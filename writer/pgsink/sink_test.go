package pgsink_test

import (
	"crypto/rand"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keygate/shared/database"
	"keygate/tests/servers"
	"keygate/writer/commit"
	"keygate/writer/pgsink"
	"keygate/writer/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	shared := servers.Postgres(t).Database(t)
	sinktest.Run(t, func(tb testing.TB) database.URL { return emptySchema(tb, shared) }, open)
}

// A pooler without prepared statements asks for this mode in the URL.
func TestContractWithoutPreparedStatements(t *testing.T) {
	shared := servers.Postgres(t).Database(t)
	sinktest.Run(t, func(tb testing.TB) database.URL {
		return with(tb, emptySchema(tb, shared), "default_query_exec_mode", "exec")
	}, open)
}

func TestTwoCommittersAnswerTheTruth(t *testing.T) {
	sinktest.Stress(t, sinktest.ParseURL(t, servers.Postgres(t).Database(t)), open, 200, 2*time.Second)
}

// emptySchema is an empty database to those who use its URL, and a hundred times quicker to make than one.
func emptySchema(tb testing.TB, text string) database.URL {
	tb.Helper()
	u := sinktest.ParseURL(tb, text)
	schema := "test_" + strings.ToLower(rand.Text())
	if _, err := sinktest.Connect(tb, u).ExecContext(tb.Context(), "create schema "+schema); err != nil {
		tb.Fatal(err)
	}
	return with(tb, u, "search_path", schema)
}

// with adds a parameter to a URL.
func with(tb testing.TB, u database.URL, name, value string) database.URL {
	tb.Helper()
	parsed, err := url.Parse(u.ConnString())
	if err != nil {
		tb.Fatal(err)
	}
	query := parsed.Query()
	query.Set(name, value)
	parsed.RawQuery = query.Encode()
	return sinktest.ParseURL(tb, parsed.String())
}

func open(tb testing.TB, u database.URL) commit.Sink {
	tb.Helper()
	return newSink(tb, pgsink.Config{URL: u})
}

func newSink(tb testing.TB, config pgsink.Config) *pgsink.Sink {
	tb.Helper()
	if config.Logger == nil {
		config.Logger = slog.New(slog.NewTextHandler(tb.Output(), nil))
	}
	sink, err := pgsink.New(config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(sink.Close)
	return sink
}
