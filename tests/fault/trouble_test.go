package fault

import (
	"database/sql"
	"net/http"
	"strings"
	"testing"
	"time"

	"keygate/shared/uuid7"
	"keygate/tests/servers"
)

// direct is a writer without a proxy, and how to ask it.
type direct struct {
	*program
	url string
	web *http.Client
}

// newDirect starts a writer over a database, which it reaches by the URL with more parameters.
func newDirect(t *testing.T, databaseURL, parameters string, args ...string) *direct {
	t.Helper()
	env := []string{"DATABASE_URL=" + databaseURL + parameters}
	command(t, env, "writer", "migrate", "up")
	d := &direct{newProgram(t, "writer", env, append(args, "--trust-network")...), databaseURL, newWeb(t)}
	d.start()
	d.ready()
	return d
}

func newWeb(tb testing.TB) *http.Client {
	transport := new(http.Transport)
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// sendAs sends an event under an id of ours, and returns what it is answered.
func (d *direct) sendAs(id uuid7.ID, org, body string) result {
	d.tb.Helper()
	a, response, err := exchange(d.web, "http://"+d.addr+"/v1/events", body, "X-Org-Id", org, "X-Keygate-Id", id.String())
	if err != nil {
		d.tb.Fatal(err)
	}
	got := a.result()
	got.status, got.header = response.StatusCode, response.Header
	return got
}

func (d *direct) send(body string) result {
	d.tb.Helper()
	return d.sendAs(uuid7.Mint(time.Now()), "acme", body)
}

// is expects an answer.
func is(tb testing.TB, got result, status int, code string) {
	tb.Helper()
	if got.status != status || got.code != code || (got.header.Get("Retry-After") != "") != (status == 503) {
		tb.Errorf("the answer is %d %s with Retry-After %q, want %d %s", got.status, got.code,
			got.header.Get("Retry-After"), status, code)
	}
}

const event = `{"type":"a","payload":{"n":1}}`

func TestAnIDThatIsUsedForAnotherEventIsRefused(t *testing.T) {
	t.Parallel()
	d := newDirect(t, servers.Postgres(t).Database(t), "")
	id := uuid7.Mint(time.Now())
	is(t, d.sendAs(id, "acme", event), 201, accepted)
	is(t, d.sendAs(id, "acme", strings.Replace(event, "1", "1.0", 1)), 201, accepted) // the same, the first answer again
	is(t, d.sendAs(id, "acme", strings.Replace(event, "1", "2", 1)), 409, "id_reused")
	is(t, d.sendAs(id, "acme", strings.Replace(event, "{", `{"dedup_id":"x",`, 1)), 409, "id_reused")
	is(t, d.sendAs(id, "other", event), 201, accepted)
	is(t, d.sendAs(uuid7.Mint(time.Now().Add(-time.Hour)), "acme", event), 403, "untrusted_caller") // as if our clock had jumped
	is(t, d.sendAs(uuid7.Mint(time.Now().Add(time.Hour)), "acme", event), 403, "untrusted_caller")
	if n := ask(t, d.url, "select count(*) from events"); n != 2 {
		t.Errorf("%d events are stored, not 2", n)
	}
}

// An ALTER TABLE that waits for somebody's transaction has everybody wait who comes after it.
func TestATableThatIsLockedForLongIs503AndEndsByItself(t *testing.T) {
	t.Parallel()
	d := newDirect(t, servers.Postgres(t).Database(t), "?statement_timeout=300", "--ride-out", "2s")
	is(t, d.send(event), 201, accepted)
	reader := connect(t, d.url)
	defer reader.Close()
	tx, err := reader.Begin()
	if err == nil {
		_, err = tx.Exec("select 1 from events")
	}
	if err != nil {
		t.Fatal(err)
	}
	altered := make(chan error)
	go func() {
		owner := connect(t, d.url)
		defer owner.Close()
		_, err := owner.Exec("alter table events add column note text")
		altered <- err
	}()
	eventually(t, "ALTER TABLE to wait", func() bool { return ask(t, d.url, waiting) == 1 })
	began := time.Now()
	is(t, d.send(event), 503, "unavailable")
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("it was tried for %v", took)
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	if err := <-altered; err != nil {
		t.Error(err)
	}
	is(t, d.send(event), 201, accepted)
	if n := ask(t, d.url, "select count(*) from events"); n != 2 {
		t.Errorf("%d events are stored, not 2", n)
	}
}

const waiting = `select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()
	and query like 'alter%'`

// A writer that has lost its connection comes back to a server whose connections others hold.
func TestAServerWithoutFreeConnectionsIsWaitedFor(t *testing.T) {
	t.Parallel()
	server := servers.StartPostgres(t, "max_connections=12")
	d := newDirect(t, server.Database(t), "")
	is(t, d.send(event), 201, accepted)
	execute(t, d.url, `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'keygate-writer'`)
	var hoard []*sql.DB
	for {
		db := connect(t, d.url)
		if err := db.Ping(); err != nil {
			if !strings.Contains(err.Error(), "53300") {
				t.Fatal(err)
			}
			db.Close()
			break
		}
		hoard = append(hoard, db)
	}
	answer := make(chan result)
	go func() { answer <- d.send(event) }()
	eventually(t, "the writer to be told", func() bool { return strings.Contains(d.log.String(), "53300") })
	for _, db := range hoard {
		db.Close()
	}
	is(t, <-answer, 201, accepted)
}
