package fault

import (
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"

	"keygate/tests/servers"
)

// sendAtOnce sends n events, each by a client of its own, and returns how to wait for their answers.
func (s *stack) sendAtOnce(n int, body func(i int) string) (wait func() []result) {
	transport := &http.Transport{MaxIdleConnsPerHost: n}
	l := &load{edge: "http://" + s.proxy.addr, web: &http.Client{Transport: transport, Timeout: patience}}
	results := make([]result, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { results[i] = l.post("", s.keys[0].Key, body(i), 1)[0] })
	}
	return func() []result {
		group.Wait()
		transport.CloseIdleConnections()
		return results
	}
}

func (s *stack) awaitQueue(n int) {
	s.tb.Helper()
	eventually(s.tb, "events to wait in the writer", func() bool { return s.writer.queued() >= n })
}

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
