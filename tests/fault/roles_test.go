package fault

import (
	"net/url"
	"strings"
	"testing"

	"keygate/tests/servers"
)

// The roles are made by pasting what the page says; they belong to the whole server.
func TestTheDocumentedRolesAreEnoughAndNoMore(t *testing.T) {
	t.Parallel()
	owner := servers.StartPostgres(t).Database(t)
	command(t, []string{"DATABASE_URL=" + owner}, "writer", "migrate", "up")
	execute(t, owner, documented(t, "create role keygate_writer"))
	as := func(role string) string {
		parsed, err := url.Parse(owner)
		if err != nil {
			t.Fatal(err)
		}
		parsed.User = url.User(role)
		return parsed.String()
	}

	w := newProgram(t, "writer", []string{"DATABASE_URL=" + as("keygate_writer")}, "--trust-network")
	w.start()
	w.ready()
	d := &direct{w, owner, newWeb(t)}
	const order = `{"type":"a","dedup_id":"1","payload":{}}`
	is(t, d.send(order), 201, accepted)
	is(t, d.send(order), 200, duplicate)
	mayNot(t, as("keygate_writer"), "delete from events", "update event_deliveries set attempts = 9", "truncate events")

	consumer := connect(t, as("keygate_consumer"))
	defer consumer.Close()
	ids, err := claim(t.Context(), consumer, documented(t, "skip locked"))
	if err != nil || len(ids) != 1 {
		t.Fatalf("claimed %v, %v", ids, err)
	}
	id, org, _ := strings.Cut(ids[0], " ")
	finish := documented(t, "'delivered'")
	for attempts, want := range []int64{0, 1, 0} { // the one that is under way is the first
		result, err := consumer.Exec(finish, id, org, attempts)
		if err != nil {
			t.Fatal(err)
		}
		if rows, err := result.RowsAffected(); err != nil || rows != want {
			t.Errorf("%d deliveries of attempt %d were finished, %v", rows, attempts, err)
		}
	}
	mayNot(t, as("keygate_consumer"), "delete from event_deliveries", "update events set type = 'b'",
		"insert into event_deliveries select * from event_deliveries")

	command(t, []string{"DATABASE_URL=" + as("keygate_pruner")}, "writer", "prune", "--older-than", "1ms")
	if n := ask(t, owner, "select count(*) from events"); n != 0 {
		t.Errorf("%d events are left by prune", n)
	}
	mayNot(t, as("keygate_pruner"), "update events set type = 'b'", "truncate events")
}

func mayNot(t *testing.T, databaseURL string, statements ...string) {
	t.Helper()
	db := connect(t, databaseURL)
	defer db.Close()
	for _, statement := range statements {
		if _, err := db.Exec(statement); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: got %v, want it to be denied", statement, err)
		}
	}
}
