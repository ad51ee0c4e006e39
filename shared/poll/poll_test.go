//go:build linux

package poll_test

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"keygate/shared/poll"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; only failing tests take that long.
const patience = 20 * time.Second

// end is one end of a pair of sockets, the other of which is theirs. It notes what it is told.
type end struct {
	tb       testing.TB
	fd       int
	theirs   int
	readable int
	ended    int
}

func (e *end) Readable(ended bool) {
	e.readable++
	if ended {
		e.ended++
	}
}

func (e *end) send(text string) {
	e.tb.Helper()
	if _, err := unix.Write(e.theirs, []byte(text)); err != nil {
		e.tb.Fatal(err)
	}
}

func newPoller(tb testing.TB) *poll.Poller {
	tb.Helper()
	p, err := poll.New()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Error(err)
		}
	})
	return p
}

func pair(tb testing.TB) *end {
	tb.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		for _, fd := range fds {
			_ = unix.Close(fd) // a test may have closed it
		}
	})
	return &end{tb: tb, fd: fds[0], theirs: fds[1]}
}

func add(tb testing.TB, p *poll.Poller, e *end) {
	tb.Helper()
	if err := p.Add(e.fd, e); err != nil {
		tb.Fatal(err)
	}
}

// turn waits once, for as long as it takes, and dispatches.
func turn(tb testing.TB, p *poll.Poller, until time.Time) {
	tb.Helper()
	if err := p.Wait(until); err != nil {
		tb.Fatal(err)
	}
	p.Dispatch()
}

func TestWhatComesIsToldOnceToWhomItIsFor(t *testing.T) {
	p, one, other := newPoller(t), pair(t), pair(t)
	add(t, p, one)
	add(t, p, other)
	for want := 1; want <= 3; want++ { // the second and third time the poller expects it to come soon
		one.send("a")
		turn(t, p, time.Now().Add(patience))
		turn(t, p, time.Now()) // it is not read, and not told again
		if one.readable != want || one.ended > 0 || other.readable > 0 {
			t.Fatalf("one was told %d times, the other %d times", one.readable, other.readable)
		}
	}
	_ = unix.Close(other.theirs)
	turn(t, p, time.Now().Add(patience))
	if other.ended != 1 || one.ended > 0 {
		t.Errorf("the end was told %d times, and elsewhere %d times", other.ended, one.ended)
	}
}

func TestWhatHadComeBeforeIsTold(t *testing.T) {
	p, one := newPoller(t), pair(t)
	one.send("a")
	for want := 1; want <= 2; want++ {
		add(t, p, one)
		turn(t, p, time.Now().Add(patience))
		if one.readable != want {
			t.Errorf("told %d times, not %d", one.readable, want)
		}
		p.Remove(one.fd)
	}
}

func TestWhatIsRemovedIsNotTold(t *testing.T) {
	p, one, other := newPoller(t), pair(t), pair(t)
	add(t, p, one)
	add(t, p, other)
	if got := p.Watched(nil); len(got) != 2 || !slices.Contains(got, poll.Handler(one)) {
		t.Errorf("watched are %v", got)
	}
	one.send("a")
	if err := p.Wait(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	p.Remove(one.fd) // also what has been found
	p.Remove(one.fd)
	p.Remove(1 << 20)
	p.Dispatch()
	if got := p.Watched(nil); one.readable > 0 || len(got) != 1 {
		t.Errorf("told %d times, watched are %v", one.readable, got)
	}
}

func TestAWaitEndsInTimeAndWhenWoken(t *testing.T) {
	p := newPoller(t)
	began := time.Now()
	turn(t, p, began.Add(20*time.Millisecond))
	if took := time.Since(began); took < 20*time.Millisecond || took > patience/2 {
		t.Errorf("a wait of 20 ms took %v", took)
	}
	turn(t, p, began) // is over already
	for _, early := range []bool{true, false} {
		woken := make(chan struct{})
		wake := func() {
			defer close(woken)
			p.Wake()
		}
		if early {
			wake()
		} else {
			time.AfterFunc(time.Millisecond, wake)
		}
		began := time.Now()
		turn(t, p, began.Add(patience))
		if took := time.Since(began); took > patience/2 {
			t.Errorf("woken after %v", took)
		}
		<-woken
	}
}

func TestNothingIsAddedToWhatIsClosed(t *testing.T) {
	p, one, other := newPoller(t), pair(t), pair(t)
	add(t, p, one)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Add(other.fd, other); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
	p.Remove(one.fd)
	p.Wake()
	if got := p.Watched(nil); len(got) != 1 {
		t.Errorf("whoever closes what was watched finds %v", got)
	}
}

func TestWhatIsNoSocketIsRefused(t *testing.T) {
	p := newPoller(t)
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := p.Add(int(file.Fd()), &end{}); err == nil || len(p.Watched(nil)) > 0 {
		t.Errorf("got %v", err)
	}
}

func TestAWaitWhoseTimeIsOverStillLooks(t *testing.T) {
	p, e := newPoller(t), pair(t)
	if err := p.Add(e.fd, e); err != nil {
		t.Fatal(err)
	}
	e.send("x")
	p.Wake()
	if err := p.Wait(time.Now()); err != nil {
		t.Fatal(err)
	}
	if p.Dispatch() != 1 || e.readable != 1 {
		t.Error("what has come was not found")
	}
	began := time.Now()
	if err := p.Wait(began.Add(patience)); err != nil || time.Since(began) > patience/2 {
		t.Errorf("the call to wake up is forgotten: %v", err)
	}
}
