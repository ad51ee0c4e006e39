//go:build long

package fault

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"keygate/tests/servers"
)

// Each transaction may get another session of the pooler, and sessions outlive their clients.
func TestAWriterBehindPgBouncerInTransactionModeLosesNothing(t *testing.T) {
	direct := servers.Postgres(t).Database(t)
	pooler := servers.StartPgBouncer(t, direct)
	parsed, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	parsed.Host = pooler.Addr()
	parsed.RawQuery = url.Values{"default_query_exec_mode": {"exec"}}.Encode()
	pooled := parsed.String()
	s := newStack(t, direct, pooled)
	l := s.newLoad(newSeed(t), faultClients)
	for range 3 {
		l.reaches(t, 200)
		pooler.Kill()
		pooler.Start()
		l.reaches(t, 200)
		// The pooler tells this of its sessions, one of which is the writer's for the moment.
		execute(t, direct, `select pg_terminate_backend(pid) from pg_stat_activity
			where datname = current_database() and query like '%event_deliveries%' and pid <> pg_backend_pid()`)
	}
	l.reaches(t, 200)
	l.end()
	s.writer.stop()
	v := judge(t, direct, l.book)
	t.Logf("%+v; %s", v, show(l.answers()))
	for code := range l.answers() {
		if !slices.Contains([]string{accepted, duplicate, "dedup_conflict"}, code) {
			t.Errorf("clients were answered %s", code)
		}
	}
	if log := s.writer.log.String(); !strings.Contains(log, "ALTER ROLE") || strings.Contains(log, "prepared statement") {
		t.Errorf("the writer says:\n%s", log)
	}
	// The one-shot commands work there as well.
	env := []string{"DATABASE_URL=" + pooled}
	command(t, env, "writer", "migrate", "status")
	command(t, env, "writer", "prune", "--older-than", "1ms", "--include-pending")
	if n := ask(t, direct, "select count(*) from events"); n != 0 {
		t.Errorf("%d events are left by prune", n)
	}
}
