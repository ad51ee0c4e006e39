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
