package fault

import (
	"fmt"
	"net/http"
	"testing"

	"keygate/tests/link"
	"keygate/tests/servers"
)

// The commit succeeds while its answer is held back until after the ride-out. Who is answered then cannot know; to be
// told that the event is not stored, and to send it again, would store it twice.
func TestAClientIsNeverToldThatAStoredEventIsNotStored(t *testing.T) {
	t.Parallel()
	url := servers.Postgres(t).Database(t)
	cable, linked := link.StartTo(t, url, readyForQuery)
	s := newStack(t, url, linked, "--ride-out", "1s")
	release := s.lock()
	wait := s.sendAtOnce(1, func(int) string { return `{"type":"a","payload":{}}` })
	eventually(t, "the insert to wait for the lock", func() bool {
		return ask(t, url, `select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`) == 1
	})
	cable.Set(link.Holds)
	release()
	got := wait()[0]
	cable.Set(link.Passes)
	if n := ask(t, url, "select count(*) from events"); n != 1 {
		t.Fatalf("%d events are stored", n)
	}
	if got.status != http.StatusServiceUnavailable || got.code != "commit_unknown" {
		t.Errorf("the answer is %d %s", got.status, got.code)
	}
	if n := ask(t, url, fmt.Sprintf("select count(*) from events where id::text = '%s'", got.id)); n != 1 {
		t.Errorf("the answer names the event %q, which is not the one that is stored", got.id)
	}
}
