package pgsink_test

import (
	"bytes"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"keygate/tests/servers"
	"keygate/writer/commit"
	"keygate/writer/pgsink"
	"keygate/writer/sinktest"
)

func TestTheFirstHostThatIsAPrimaryIsUsed(t *testing.T) {
	f := newFixture(t, servers.Postgres(t).Database(t))
	parsed, err := url.Parse(f.url.ConnString())
	if err != nil {
		t.Fatal(err)
	}
	parsed.Host = servers.FreeAddr(t) + "," + parsed.Host
	f.sink = newSink(t, pgsink.Config{URL: sinktest.ParseURL(t, parsed.String())})
	f.insert(1)
}

func TestSettingsThatLoseEventsAreWarnedOfOnce(t *testing.T) {
	f := newFixture(t, servers.Postgres(t).Database(t))
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	f.sink = newSink(t, pgsink.Config{URL: f.url, Logger: logger})
	f.insert(1)
	if log.Len() > 0 {
		t.Errorf("a durable server is warned of: %s", &log)
	}
	f.sink = newSink(t, pgsink.Config{URL: with(t, f.url, "synchronous_commit", "off"), Logger: logger})
	f.insert(1)
	f.exec("select pg_terminate_backend(pid) from pg_stat_activity where " + ours)
	f.tryInsert(f.last)
	f.insert(1)
	if got := strings.Count(log.String(), "synchronous_commit=off"); got != 1 {
		t.Errorf("warned %d times: %s", got, &log)
	}
}

// PgBouncer answers so to what it does not know, and a sink must work behind it all the same.
func TestAPoolerThatTakesNoStatementTimeoutIsUsedWithoutIt(t *testing.T) {
	f := newFixture(t, servers.Postgres(t).Database(t))
	link := newLink(t, with(t, f.url, "sslmode", "disable"))
	link.pooler.Store(true)
	var log bytes.Buffer
	f.sink = newSink(t, pgsink.Config{URL: link.url, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	f.insert(1)
	if !strings.Contains(log.String(), "ALTER ROLE") {
		t.Errorf("the log does not say what to do: %s", &log)
	}
}

func TestASessionThatForgetsStatementsIsUsedWithoutThem(t *testing.T) {
	f := newFixture(t, servers.Postgres(t).Database(t))
	var log bytes.Buffer
	f.sink = newSink(t, pgsink.Config{URL: f.url, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	f.insert(1)
	if err := f.sink.ForgetStatements(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.insertFails(commit.Unavailable)
	f.insert(1)
	if err := f.sink.ForgetStatements(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.insert(1)
	if got := strings.Count(log.String(), "going on without"); got != 1 {
		t.Errorf("said %d times: %s", got, &log)
	}
}
