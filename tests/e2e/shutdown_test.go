package e2e

import (
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"keygate/tests/servers"
)

// load is many clients that post events, one after another each, until they are told to stop.
type load struct {
	edge, key string
	web       *client
	stop      atomic.Bool
	done      atomic.Int64 // acknowledged so far
	group     sync.WaitGroup

	mu           sync.Mutex
	acknowledged []string // ids
	others       []answer // answers that are no acknowledgement
}

const clients = 16

// startLoad does not return before events are being stored.
func startLoad(tb testing.TB, edge, key string) *load {
	tb.Helper()
	l := &load{edge: edge, key: key, web: newClient(tb)}
	for range clients {
		l.group.Go(l.post)
	}
	tb.Cleanup(l.end)
	l.reaches(tb, 300)
	return l
}

// reaches waits until so many events have been acknowledged.
func (l *load) reaches(tb testing.TB, n int64) {
	tb.Helper()
	eventually(tb, "events to be acknowledged", func() bool { return l.done.Load() >= n })
}

func (l *load) post() {
	for !l.stop.Load() {
		got, err := l.web.try(http.MethodPost, l.edge+"/v1/events", anEvent, "X-API-Key", l.key)
		if err != nil {
			continue // refused or closed: what is stored all the same shows in the tables
		}
		l.note(got)
	}
}

func (l *load) note(got answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var s stored
	if got.status != http.StatusCreated || json.Unmarshal(got.body, &s) != nil {
		l.others = append(l.others, got)
		return
	}
	l.acknowledged = append(l.acknowledged, s.ID)
	l.done.Add(1)
}

// end waits for the clients.
func (l *load) end() {
	l.stop.Store(true)
	l.group.Wait()
}

func TestAWriterThatIsStoppedAnswersWhatItHasAccepted(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	writer := s.writer()
	proxy := s.proxy(writer.url)
	l := startLoad(t, proxy.url, s.createKey("acme").Key)
	writer.stop(syscall.SIGTERM)
	l.end()
	l.checkAllStored(t, s)
	for _, other := range l.others {
		if code := codeOf(other); code != "upstream_unreachable" && code != "unavailable" {
			t.Errorf("while the writer stops an event is answered %v", other)
		}
	}
}

func TestAProxyThatIsStoppedAnswersWhatItHasAccepted(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	writer := s.writer()
	proxy := s.proxy(writer.url)
	l := startLoad(t, proxy.url, s.createKey("acme").Key)
	proxy.stop(syscall.SIGTERM)
	l.end()
	l.checkAllStored(t, s)
	for _, other := range l.others {
		t.Errorf("while the proxy stops an event is answered %v", other)
	}
	writer.stop(syscall.SIGTERM)
}

func TestAProxyThatIsStoppedWaitsForTheAPI(t *testing.T) {
	t.Parallel()
	arrived, goOn := make(chan bool, 1), make(chan bool)
	s := newStack(t)
	proxy := s.proxy(startUpstream(t, func(seen) string {
		arrived <- true
		select {
		case <-goOn:
		case <-t.Context().Done():
		}
		return response("200 OK", "late")
	}).url)
	key := s.createKey("acme")
	w := dial(t, proxy.addr)
	w.send(request("POST", "/", "{}", "X-API-Key: "+key.Key))
	<-arrived
	proxy.signal(syscall.SIGTERM)
	proxy.closesItsListener()
	goOn <- true
	if got := w.receive("POST"); got.status != http.StatusOK || string(got.body) != "late" {
		t.Errorf("the request in flight is answered %v", got)
	}
	if code := proxy.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestAWriterThatIsStoppedWaitsForItsCommit(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	writer := s.writer()
	proxy := s.proxy(writer.url)
	key := s.createKey("acme")
	w := dial(t, proxy.addr)
	lock, err := s.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec("lock table events in exclusive mode"); err != nil {
		t.Fatal(err)
	}
	w.send(event(anEvent, "X-API-Key: "+key.Key))
	eventually(t, "the event to wait in the queue", func() bool { return writer.metric("keygate_writer_queue_rows") == 1 })
	writer.signal(syscall.SIGTERM)
	writer.closesItsListener()
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	w.receive("POST").wants(t, 201, "accepted")
	if code := writer.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := events(t, s.db); n != 1 {
		t.Errorf("%d events are stored, not 1", n)
	}
}

// closesItsListener waits until nobody can connect any more.
func (s *service) closesItsListener() {
	s.tb.Helper()
	eventually(s.tb, "the listener to be closed", func() bool {
		conn, err := net.Dial("tcp", s.addr)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
}

// checkAllStored wants the acknowledged events to be those that are stored, and nothing else.
func (l *load) checkAllStored(t *testing.T, s *stack) {
	t.Helper()
	if n := events(t, s.db); n != len(l.acknowledged) {
		t.Errorf("%d events are stored and %d acknowledged", n, len(l.acknowledged))
	}
	l.checkNoneLost(t, s)
}

// checkNoneLost wants every acknowledged event to be stored, once, with its delivery.
func (l *load) checkNoneLost(t *testing.T, s *stack) {
	t.Helper()
	events(t, s.db)
	ids := column(t, s.db, "select id::text from events order by id::text")
	for _, id := range l.acknowledged {
		if _, found := slices.BinarySearch(ids, id); !found {
			t.Errorf("the acknowledged event %s is lost", id)
		}
	}
	t.Logf("%d acknowledged, %d stored, %d other answers", len(l.acknowledged), len(ids), len(l.others))
}

func TestAKilledWriterLosesNothingThatItHasAcknowledged(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	addr := servers.FreeAddr(t)
	writer := serveAt(t, writerProgram, addr, s.env).ready()
	proxy := s.proxy(writer.url, "--upstream-idempotent", "/")
	key := s.createKey("acme").Key
	l := startLoad(t, proxy.url, key)
	for range 3 {
		writer.kill()
		writer = serveAt(t, writerProgram, addr, s.env).ready()
		l.reaches(t, l.done.Load()+300)
	}
	l.end()
	l.checkNoneLost(t, s)
	for _, other := range l.others {
		if code := codeOf(other); code != "upstream_unreachable" {
			t.Errorf("while the writer is away an event is answered %v", other)
		}
	}
}

func TestADrainingProxyServesWhileItSaysThatItIsNotReady(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	proxy := s.proxy(startUpstream(t, nil).url, "--drain-delay", "2s")
	key := s.createKey("acme")
	web := newClient(t)
	web.get(proxy.url, "X-API-Key", key.Key)
	proxy.signal(syscall.SIGTERM)
	eventually(t, "/readyz to be 503", func() bool {
		got, err := web.try(http.MethodGet, proxy.admin+"/readyz", "")
		return err == nil && got.status == http.StatusServiceUnavailable
	})
	w := dial(t, proxy.addr)
	w.send(request("GET", "/", "", "X-API-Key: "+key.Key))
	if got := w.receive("GET"); got.status != http.StatusOK || got.header.Get("Connection") != "close" {
		t.Errorf("while draining a request is answered %v, %v", got, got.header)
	}
	if code := proxy.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
