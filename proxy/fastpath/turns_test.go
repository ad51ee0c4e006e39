package fastpath_test

import (
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keygate/proxy/auth"
	"keygate/proxy/server"
)

// stalling notes which keys a loop asks about. One that begins with "stall" holds the loop up until it is told to go on, once.
type stalling struct {
	*known
	stalled, goOn chan struct{}
	stall         sync.Once

	mu   sync.Mutex
	keys []string
}

func (s *stalling) Recall(key []byte, now time.Time) (auth.Decision, bool) {
	s.mu.Lock()
	s.keys = append(s.keys, string(key))
	s.mu.Unlock()
	if strings.HasPrefix(string(key), "stall") {
		s.stall.Do(func() {
			s.stalled <- struct{}{}
			<-s.goOn
		})
	}
	return s.known.Recall(key, now)
}

func (s *stalling) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.keys)
}

// newStalling returns an edge with one loop, which can be held up.
func newStalling(t *testing.T) (*edge, *stalling) {
	cores := runtime.GOMAXPROCS(1)
	s := &stalling{stalled: make(chan struct{}), goOn: make(chan struct{})}
	e := newEdge(t, newAPI(t, saying(created)), func(c *server.Config) {
		s.known = c.Auth.(*known)
		c.Fast.Auth = s
		c.Address = "unix:" + filepath.Join(t.TempDir(), "edge")
	}).warm()
	runtime.GOMAXPROCS(cores)
	return e, s
}

// Somebody who sends without a pause, each request as long as what is read at once, takes turns with the others.
func TestNobodyKeepsALoopToThemselves(t *testing.T) {
	e, s := newStalling(t)
	other, greedy := e.dial(), e.dial()
	if r := other.ask(get("/a")); r.status != 201 {
		t.Fatalf("got %+v", r)
	}
	one := with("evil", filling())
	greedy.say(with("stall-bad", get("/a")))
	<-s.stalled
	greedy.say(one + one) // which a Unix socket takes, and gives in one piece
	other.say(get("/a"))
	s.goOn <- struct{}{}
	for range 3 {
		if r := greedy.hear("GET"); r.status != 401 {
			t.Fatalf("got %+v", r)
		}
	}
	if r := other.hear("GET"); r.status != 201 {
		t.Fatalf("got %+v", r)
	}
	if want := []string{"stall-bad", "evil", "good", "evil"}; !slices.Equal(s.seen()[2:], want) {
		t.Errorf("it was %q, not %q", s.seen()[2:], want)
	}
}

// What has come by the time that the listener is closed is served, also where the loop has been busy.
func TestABusyLoopServesWhatHasComeBeforeAStop(t *testing.T) {
	e, s := newStalling(t)
	idle, busy := e.dial(), e.dial()
	if r := idle.ask(get("/a")); r.status != 201 {
		t.Fatalf("got %+v", r)
	}
	busy.say(with("stall-good", get("/a")))
	<-s.stalled
	stopped := make(chan struct{})
	go func() {
		e.stop()
		close(stopped)
	}()
	until(t, "the listener to be closed", e.refused)
	idle.say(get("/a"))
	s.goOn <- struct{}{}
	for name, c := range map[string]*client{"busy": busy, "idle": idle} {
		if r := c.hear("GET"); r.status != 201 {
			t.Errorf("the %s one: %+v", name, r)
		}
	}
	<-stopped
}
