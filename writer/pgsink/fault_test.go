package pgsink_test

import (
	"context"
	"testing"
	"time"

	"keygate/tests/servers"
	"keygate/writer/commit"
	"keygate/writer/event"
	"keygate/writer/pgsink"
	"keygate/writer/sinktest"
)

func TestFaultsOfTheServer(t *testing.T) {
	server := servers.StartPostgres(t)
	database := server.Database(t)
	for name, test := range map[string]func(*fixture, *servers.PostgresServer){
		"A server that was stopped is used again once it is back":   testStopped,
		"A server that was killed is used again once it is back":    testKilled,
		"A frozen server ends the call, which then converges":       testFrozen,
		"A commit without its synchronous standby is not confirmed": testNoStandby,
	} {
		t.Run(name, func(t *testing.T) { test(newFixture(t, database), server) })
	}
}

func testStopped(f *fixture, server *servers.PostgresServer) {
	f.insert(2)
	server.Stop()
	f.insertFails(commit.Unavailable, commit.Uncertain) // the connection's own end
	f.insertFails(commit.Unavailable)
	server.Start()
	f.insert(1)
}

func testKilled(f *fixture, server *servers.PostgresServer) {
	f.insert(2)
	release := f.lock()
	batch := sinktest.NewEvents("a", 3)
	failed := f.insertLater(batch)
	f.awaitLockWait()
	server.Kill()
	f.failsAs(<-failed, commit.Uncertain)
	release()
	f.failsAs(f.tryInsert(batch), commit.Unavailable)
	server.Start()
	f.converges(batch)
}

func testFrozen(f *fixture, server *servers.PostgresServer) {
	f.insert(1)
	batch := sinktest.NewEvents("a", 3)
	server.Pause()
	ctx, cancel := context.WithTimeout(f.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := f.sink.Insert(ctx, batch)
	f.failsAs(err, commit.Uncertain)
	other := newSink(f, pgsink.Config{URL: f.url})
	_, err = other.Insert(ctx, batch)
	f.failsAs(err, commit.Unavailable)
	begun := time.Now()
	f.sink.Close()
	if took := time.Since(begun); took > 5*time.Second {
		f.Errorf("a frozen server kept the sink from closing for %v", took)
	}
	f.sink = other
	server.Continue()
	f.converges(batch)
}

// testNoStandby names a standby that does not exist, so that each commit waits for it: done here, but not to be counted
// on. Whoever is told of its rows must have waited.
func testNoStandby(f *fixture, server *servers.PostgresServer) {
	f.insert(1)
	f.setting("synchronous_standby_names", "'nobody'")
	batch := sinktest.NewEvents("a", 3)

	cancelled := f.insertLater(batch)
	f.await("select count(*) > 0 from pg_stat_activity where wait_event = 'SyncRep'")
	f.exec("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'")
	f.failsAs(<-cancelled, commit.Uncertain)
	f.await("select count(*) = 4 from events") // although nobody may know

	ctx, cancel := context.WithTimeout(f.Context(), 200*time.Millisecond)
	defer cancel()
	stored, err := f.sink.Insert(ctx, batch)
	if err != nil || stored[0] {
		f.Fatalf("got %v, %v, want rows that are there already", stored, err)
	}
	_, err = f.sink.Find(ctx, batch)
	f.failsAs(err, commit.Uncertain)

	f.setting("synchronous_standby_names", "''")
	f.converges(batch)
}

func TestFaultsOfASession(t *testing.T) {
	database := servers.Postgres(t).Database(t)
	for name, test := range map[string]func(*fixture){
		"A session that is terminated in a batch leaves it in doubt": (*fixture).testTerminated,
		"A lock that is held too long is overload":                   (*fixture).testStatementTimeout,
		"A server that became read-only is left for another":         (*fixture).testReadOnly,
		"Errors of the server are classified":                        (*fixture).testCodes,
		"An answer lost after the commit is found again":             (*fixture).testLostAnswer,
	} {
		t.Run(name, func(t *testing.T) { test(newFixture(t, database)) })
	}
}

func (f *fixture) testTerminated() {
	f.insert(1)
	release := f.lock()
	batch := sinktest.NewEvents("a", 3)
	failed := f.insertLater(batch)
	f.awaitLockWait()
	f.exec("select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock' and " + ours)
	f.failsAs(<-failed, commit.Uncertain)
	release()
	f.converges(batch)
}

func (f *fixture) testStatementTimeout() {
	f.sink = newSink(f, pgsink.Config{URL: f.url, StatementTimeout: 50 * time.Millisecond})
	f.insert(1)
	before := f.backend()
	release := f.lock()
	f.insertFails(commit.Overloaded)
	release()
	f.insert(1)
	if after := f.backend(); after != before {
		f.Errorf("the connection was given up: %s, then %s", before, after)
	}
}

func (f *fixture) testReadOnly() {
	f.insert(1)
	before := f.backend()
	name := f.scan("select current_database()")
	f.exec("alter database " + name + " set default_transaction_read_only = on")
	f.exec("select pg_terminate_backend(" + before + ")")
	f.insertFails(commit.Uncertain, commit.Unavailable) // the termination
	f.insertFails(commit.Unavailable)
	f.exec("begin read write; alter database " + name + " set default_transaction_read_only = off; commit")
	f.insert(1)
}

// testCodes has the server raise errors by a trigger, which takes the code from the event's type.
func (f *fixture) testCodes() {
	f.exec(`create function fail() returns trigger language plpgsql as
		$$ begin raise exception 'as asked' using errcode = new.type; end $$`)
	f.exec(`create trigger fail before insert on events for each row when (new.org_id = 'codes') execute function fail()`)
	for cause, codes := range map[commit.Cause][]string{
		commit.Refused:     {"22P02", "22P05", "22021", "22003", "23514", "23502", "54000", "54001", "P0001"},
		commit.Unavailable: {"40001", "40P01", "25006", "42501", "55000", "0A000", "XX000", "58030"},
		commit.Overloaded:  {"53200", "53400", "55P03", "57014"},
		commit.Full:        {"53100"},
		commit.Uncertain:   {"40003"},
	} {
		for _, code := range codes {
			e := sinktest.NewEvent("codes", "")
			e.Type = code
			if err := f.tryInsert([]*event.Event{e}); commit.CauseOf(err) != cause {
				f.Errorf("%s is %v, want %v: %v", code, commit.CauseOf(err), cause, err)
			}
		}
	}
	f.insert(1)
}

// testLostAnswer cuts the link after the server has got the batch and before it can answer.
func (f *fixture) testLostAnswer() {
	link := newLink(f, f.url)
	f.sink = newSink(f, pgsink.Config{URL: link.url})
	f.insert(1)
	batch := sinktest.NewEvents("a", 3)
	link.loseAnswers()
	failed := f.insertLater(batch)
	f.await("select count(*) = 4 from events")
	link.cut()
	f.failsAs(<-failed, commit.Uncertain)
	f.converges(batch)
}
