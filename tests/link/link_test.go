package link_test

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keygate/tests/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 20 * time.Second // only failing tests wait for so long
	short    = 50 * time.Millisecond
)

// echo starts a server that says what it hears.
func echo(t *testing.T) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-ended
	})
	return listener.Addr().String()
}

func start(t *testing.T) *link.Link {
	return link.Start(t, echo(t), func(chunk []byte) bool { return chunk[len(chunk)-1] == '.' })
}

func dial(t *testing.T, l *link.Link) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp4", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// hears says how soon an echo of text is there, or what there is instead.
func hears(c net.Conn, text string, wait time.Duration) (time.Duration, error) {
	began := time.Now()
	_ = c.SetDeadline(began.Add(wait))
	if _, err := io.WriteString(c, text); err != nil {
		return 0, err
	}
	_, err := io.ReadFull(c, make([]byte, len(text)))
	return time.Since(began), err
}

func passes(t *testing.T, when string, c net.Conn) {
	t.Helper()
	if _, err := hears(c, "something longer than seven bytes", patience); err != nil {
		t.Errorf("%s: %v", when, err)
	}
}

func isReset(t *testing.T, when string, c net.Conn) {
	t.Helper()
	if _, err := hears(c, "a.", patience); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("%s: %v", when, err)
	}
}

func isHeld(t *testing.T, when string, c net.Conn) {
	t.Helper()
	if _, err := hears(c, "a", short); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s: %v", when, err)
	}
}

func TestWhatALinkDoesToConnections(t *testing.T) {
	type does func(t *testing.T, when string, c net.Conn)
	for name, m := range map[string]struct {
		mode       link.Mode
		open, next does
		refused    int
	}{
		"passes":      {link.Passes, passes, passes, 0},
		"refuses":     {link.Refuses, isReset, isReset, 1},
		"refuses new": {link.RefusesNew, passes, isReset, 1},
		"holds":       {link.Holds, isHeld, isHeld, 0},
		"holds new":   {link.HoldsNew, passes, isHeld, 0},
		"dribbles":    {link.Dribbles, passes, passes, 0},
		"loses":       {link.Loses, passes, passes, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l := start(t)
			open := dial(t, l)
			passes(t, "before", open)
			l.Set(m.mode)
			m.open(t, "an open connection", open)
			if next, err := net.Dial("tcp4", l.Addr()); err == nil {
				m.next(t, "a new one", next)
				next.Close()
			} else if m.refused == 0 || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("a new one: %v", err)
			}
			if n := l.Refused(); n != m.refused {
				t.Errorf("%d were refused, not %d", n, m.refused)
			}
			l.Set(link.Passes)
			passes(t, "afterwards", dial(t, l))
		})
	}
}

func TestWhatWasHeldArrives(t *testing.T) {
	l := start(t)
	c := dial(t, l)
	l.Set(link.Holds)
	isHeld(t, "meanwhile", c)
	l.Set(link.Passes)
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

func TestAnAnswerIsLostOnceItIsWhole(t *testing.T) {
	l := start(t)
	c := dial(t, l)
	l.Set(link.Loses)
	passes(t, "a part of one", c)
	isReset(t, "the end of one", c)
	if n := l.AnswersLost(); n != 1 {
		t.Errorf("%d were lost", n)
	}
}

func TestEachWayTakesItsTime(t *testing.T) {
	l := start(t)
	c := dial(t, l)
	l.Slow(short)
	if took, err := hears(c, "a", patience); err != nil || took < 2*short {
		t.Errorf("%v, %v", took, err)
	}
}

func TestAResetEndsWhatIsOpen(t *testing.T) {
	l := start(t)
	c := dial(t, l)
	passes(t, "before", c)
	l.Reset()
	isReset(t, "afterwards", c)
	passes(t, "a new one", dial(t, l))
}
