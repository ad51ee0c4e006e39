package fault

import (
	"testing"

	"keygate/tests/link"
	"keygate/tests/servers"
)

// To be told that an event is not stored, and to send it again, would store it twice. Here the first of the proxy's two
// attempts is stored and its answer lost; the second meets a writer that has never seen the event, and no database.
func TestAClientIsNotToldThatAnEventIsNotStoredByAWriterThatHasJustStarted(t *testing.T) {
	t.Parallel()
	postgres := servers.StartPostgres(t)
	url := postgres.Database(t)
	s := newStack(t, url, url, "--ride-out", "1s")
	release := s.lock()
	wait := s.sendAtOnce(1, func(int) string { return `{"type":"a","payload":{}}` })
	s.awaitQueue(1)
	s.wire.Set(link.Holds)
	release()
	eventually(t, "the event to be stored", func() bool { return ask(t, url, "select count(*) from events") == 1 })
	postgres.Stop()
	s.writer.kill()
	s.writer.start()
	eventually(t, "the new writer to listen", func() bool {
		response, err := visitor.Get(s.writer.admin + "/healthz")
		if err == nil {
			response.Body.Close()
		}
		return err == nil
	})
	s.wire.Reset()
	s.wire.Set(link.Passes)
	if got := wait()[0]; got.code != "upstream_unreachable" {
		t.Errorf("the answer is %d %s", got.status, got.code)
	}
}
