package upstream

import (
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func newSet(tb testing.TB, urls ...string) *Set {
	tb.Helper()
	s, err := New(Config{Upstreams: urls, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestWhoSitsOutComesBackAndIsOnTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, "http://a", "http://b")
		g := s.groups[0]
		a, b := g.targets[0], g.targets[1]
		expect := func(what string, ofA int) {
			t.Helper()
			count := map[*target]int{}
			for range 10 {
				count[g.pick(nil)]++
			}
			if count[a] != ofA || count[b] != 10-ofA {
				t.Errorf("%s: %d and %d of 10", what, count[a], count[b])
			}
		}
		g.failed(a)
		g.failed(a)
		expect("after two failures", 5)
		g.failed(a)
		expect("after three", 0)
		time.Sleep(ejectedFor)
		expect("later", 5)
		g.failed(a)
		expect("after the first failure since", 0)
		time.Sleep(ejectedFor)
		for range failuresToEject {
			g.failed(b)
		}
		expect("once the other one fails", 10)
	})
}

// The upstream may be about to close what has been idle for longer than it is to be.
func TestWhatHasBeenIdleForTooLongIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, "http://a")
		a := s.groups[0].targets[0]
		near, far := net.Pipe()
		defer far.Close()
		old := &Conn{Conn: near, target: a}
		a.open = 1
		a.put(old, true)
		a.sweep.Stop()
		now := time.Now()
		if c, err := a.take(false, now.Add(s.cfg.IdleTimeout)); c != old || err != nil {
			t.Errorf("in time: %v, %v", c, err)
		}
		a.put(old, true)
		a.sweep.Stop()
		if c, err := a.take(false, now.Add(s.cfg.IdleTimeout+1)); c != nil || err != nil {
			t.Errorf("too late: %v, %v", c, err)
		}
		if a.open != 1 || len(a.idle) != 0 {
			t.Errorf("%d open, %d idle", a.open, len(a.idle))
		}
	})
}

// Who watches a connection gets it rather than others, but not once it has been idle for too long.
func TestWhoWatchesAConnectionGetsItWhileItIsYoung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, "http://a")
		a := s.groups[0].targets[0]
		idle := func(watcher string) *Conn {
			near, far := net.Pipe()
			t.Cleanup(func() { far.Close() })
			c := &Conn{Conn: near, target: a, Watcher: watcher}
			a.open++
			a.put(c, true)
			a.sweep.Stop()
			return c
		}
		old := idle("me")
		young := idle("another")
		if c := a.takeIdle("me", time.Now()); c != old {
			t.Errorf("while it is young: got %v's", c.Watcher)
		}
		a.put(old, true)
		a.idle[0], a.idle[1] = a.idle[1], a.idle[0] // so that it is not the one used last
		time.Sleep(s.cfg.IdleTimeout + 1)
		young.usedAt = time.Now()
		if c := a.takeIdle("me", time.Now()); c != young {
			t.Errorf("later: got %v's", c.Watcher)
		}
	})
}
