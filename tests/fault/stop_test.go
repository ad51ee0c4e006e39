package fault

import (
	"net"
	"slices"
	"testing"

	"keygate/tests/servers"
)

func TestAWriterEndsOnlyAfterItHasAnsweredAllThatItHasAccepted(t *testing.T) {
	t.Parallel()
	url := servers.Postgres(t).Database(t)
	s := newStack(t, url, url)
	release := s.lock()
	const events = 100
	wait := s.sendAtOnce(events, func(int) string { return `{"type":"a","payload":{}}` })
	s.awaitQueue(events)
	s.writer.terminate()
	eventually(t, "the listener to close", func() bool {
		conn, err := net.Dial("tcp4", s.writer.addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	release()
	for _, got := range wait() {
		if got.code != accepted {
			t.Errorf("an event that had been accepted is answered %s", got.code)
		}
	}
	<-s.writer.exited
	if code := s.writer.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := ask(t, url, "select count(*) from events"); n != events {
		t.Errorf("%d events are stored of %d", n, events)
	}
}

// What was not acknowledged is not stored either: no answer got lost.
func TestUnderLoadAWriterThatIsStoppedLosesNoAnswer(t *testing.T) {
	t.Parallel()
	url := servers.Postgres(t).Database(t)
	s := newStack(t, url, url)
	l := s.newLoad(newSeed(t), faultClients)
	for range 5 {
		s.writer.stop()
		s.writer.start()
		l.reaches(t, 100)
	}
	l.end()
	s.writer.stop()
	v := judge(t, url, l.book)
	if v.stored != v.acknowledged {
		t.Errorf("%d events are stored, and %d acknowledged", v.stored, v.acknowledged)
	}
	for code := range l.answers() {
		if !slices.Contains([]string{accepted, duplicate, "dedup_conflict", "upstream_unreachable", "unavailable"}, code) {
			t.Errorf("clients were answered %s", code)
		}
	}
	t.Logf("%+v; %s", v, show(l.answers()))
}
