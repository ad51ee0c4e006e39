package fault

import (
	"slices"
	"testing"
	"time"

	"keygate/tests/servers"
)

func TestAnOutageShorterThanTheRideOutCostsTimeAndNoErrors(t *testing.T) {
	t.Parallel()
	postgres := servers.StartPostgres(t)
	url := postgres.Database(t)
	s := newStack(t, url, url)
	l := s.newLoad(newSeed(t), faultClients)
	l.stalls()
	const outage = 3 * time.Second
	postgres.Stop()
	<-time.After(outage)
	postgres.Start()
	l.reaches(t, 4*faultClients)
	request, gap := l.stalls()
	l.end()
	s.writer.stop()
	for code := range l.answers() {
		if !slices.Contains([]string{accepted, duplicate, "dedup_conflict"}, code) {
			t.Errorf("clients were answered %s", code)
		}
	}
	if request < outage {
		t.Errorf("the longest request took %v: there was no outage", request)
	}
	v := judge(t, url, l.book)
	if v.stored != v.acknowledged {
		t.Errorf("%d events are stored, and %d acknowledged", v.stored, v.acknowledged)
	}
	t.Logf("Postgres was stopped for %v; longest request %v, longest silence %v; %+v", outage, request, gap, v)
}

func TestAnOutageLongerThanTheRideOutIs503AndEndsByItself(t *testing.T) {
	t.Parallel()
	postgres := servers.StartPostgres(t)
	url := postgres.Database(t)
	s := newStack(t, url, url, "--ride-out", "2s")
	l := s.newLoad(newSeed(t), faultClients)
	postgres.Stop()
	began := time.Now()
	got := l.post("", s.keys[0].Key, `{"type":"a","payload":{"n":-1}}`, 1)[0]
	// The proxy asks once more, so that the event is tried for twice the ride-out.
	if took := time.Since(began); took < 2*time.Second || took > 10*time.Second {
		t.Errorf("the answer took %v", took)
	}
	if got.status != 503 || got.header.Get("Retry-After") == "" || got.code != "unavailable" {
		t.Errorf("the answer is %d %s with Retry-After %q", got.status, got.code, got.header.Get("Retry-After"))
	}
	postgres.Start()
	recovery := eventually(t, "the writer to be ready", func() bool {
		response, err := visitor.Get(s.writer.admin + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode == 200
	})
	l.reaches(t, 4*faultClients)
	l.end()
	s.writer.stop()
	v := judge(t, url, l.book)
	t.Logf("ready %v after Postgres; %+v; %s", recovery, v, show(l.answers()))
	for code := range l.answers() {
		if !slices.Contains([]string{accepted, duplicate, "dedup_conflict", "unavailable", "commit_unknown"}, code) {
			t.Errorf("clients were answered %s", code)
		}
	}
}
