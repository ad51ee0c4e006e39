package fault

import (
	"fmt"
	"net/http"
	"testing"

	"keygate/tests/servers"
)

// What the writer's validation cannot know of, a constraint of the database's owner refuses. All events wait for one
// lock, so that they come to be in one batch, but for the first.
func TestOnePoisonedEventAmongManyIsRefusedAlone(t *testing.T) {
	t.Parallel()
	url := servers.Postgres(t).Database(t)
	s := newStack(t, url, url)
	execute(t, url, `alter table events add check (type <> 'poison')`)
	const events, poisoned = 200, 137
	release := s.lock()
	wait := s.sendAtOnce(events, func(i int) string {
		if i == poisoned {
			return `{"type":"poison","payload":{}}`
		}
		return fmt.Sprintf(`{"type":"fine","dedup_id":"%d","payload":{}}`, i)
	})
	s.awaitQueue(events)
	release()
	for i, got := range wait() {
		switch {
		case i == poisoned && (got.code != "invalid_event" || got.status != http.StatusUnprocessableEntity):
			t.Errorf("the poisoned event is answered %d %s", got.status, got.code)
		case i != poisoned && (got.code != accepted || got.status != http.StatusCreated):
			t.Errorf("event %d is answered %d %s", i, got.status, got.code)
		}
	}
	if n := ask(t, url, "select count(*) from events e join event_deliveries d on d.event_id = e.id"); n != events-1 {
		t.Errorf("%d events are stored with their deliveries, not %d", n, events-1)
	}
}
