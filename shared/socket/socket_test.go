package socket_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keygate/shared/socket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair returns both ends of a connection; ours is wrapped.
func pair(t *testing.T, network, address string) (ours, theirs net.Conn) {
	t.Helper()
	inner, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	ln := socket.Listen(inner)
	defer ln.Close()
	if theirs, err = net.Dial(network, ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if ours, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ours.Close()
		theirs.Close()
	})
	return ours, theirs
}

func each(t *testing.T, f func(t *testing.T, ours, theirs net.Conn)) {
	t.Run("tcp", func(t *testing.T) {
		ours, theirs := pair(t, "tcp", "127.0.0.1:0")
		f(t, ours, theirs)
	})
	t.Run("unix", func(t *testing.T) {
		ours, theirs := pair(t, "unix", filepath.Join(t.TempDir(), "s"))
		f(t, ours, theirs)
	})
}

func TestEveryByteArrivesInBothDirections(t *testing.T) {
	sent := make([]byte, 8<<20) // more than the buffers of any socket hold
	_, _ = rand.Read(sent)
	each(t, func(t *testing.T, ours, theirs net.Conn) {
		for _, ends := range [...]struct{ from, to net.Conn }{{ours, theirs}, {theirs, ours}} {
			wrote := make(chan error, 1)
			go func() {
				n, err := ends.from.Write(sent)
				if err == nil && n != len(sent) {
					err = io.ErrShortWrite
				}
				wrote <- err
			}()
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(ends.to, got); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("what arrived differs, or %v", err)
			}
			if err := <-wrote; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestTheEndIsSeenOnBothSides(t *testing.T) {
	each(t, func(t *testing.T, ours, theirs net.Conn) {
		if n, err := ours.Read(nil); n != 0 || err != nil {
			t.Errorf("reading nothing: %d, %v", n, err)
		}
		if err := theirs.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := ours.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("got %v, not the end", err)
		}
		if _, err := ours.Write([]byte("still")); err != nil {
			t.Error(err)
		}
		if err := ours.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(theirs); string(text) != "still" || err != nil {
			t.Errorf("got %q, %v", text, err)
		}
	})
}

// Whoever else reads or writes at the same time gets bytes of their own, whole.
func TestTransfersDoNotMix(t *testing.T) {
	each(t, func(t *testing.T, ours, theirs net.Conn) {
		const size, senders = 100_000, 4
		var group sync.WaitGroup
		for i := range senders {
			group.Go(func() { _, _ = ours.Write(bytes.Repeat([]byte{byte(i)}, size)) })
		}
		for range senders {
			got := make([]byte, size)
			if _, err := io.ReadFull(theirs, got); err != nil || bytes.Count(got, got[:1]) != size {
				t.Errorf("what was written at once is mixed: %v", err)
			}
		}
		group.Wait()
		var read atomic.Int64
		for range senders {
			group.Go(func() {
				n, _ := ours.Read(make([]byte, size))
				read.Add(int64(n))
			})
		}
		for range senders {
			_, _ = theirs.Write([]byte("x"))
		}
		theirs.Close()
		group.Wait()
		if n := read.Load(); n != senders {
			t.Errorf("%d bytes were read, not %d", n, senders)
		}
	})
}

func TestDeadlinesHold(t *testing.T) {
	each(t, func(t *testing.T, ours, _ net.Conn) {
		_ = ours.SetDeadline(time.Now().Add(time.Millisecond))
		if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("reading: %v", err)
		}
		n, err := ours.Write(make([]byte, 64<<20)) // nobody reads
		if !errors.Is(err, os.ErrDeadlineExceeded) || n == 64<<20 {
			t.Errorf("writing: %d, %v", n, err)
		}
	})
}

func TestClosingEndsWhatWaits(t *testing.T) {
	each(t, func(t *testing.T, ours, _ net.Conn) {
		read, wrote := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := ours.Read(make([]byte, 1))
			read <- err
		}()
		go func() {
			_, err := ours.Write(make([]byte, 64<<20))
			wrote <- err
		}()
		ours.Close()
		for _, ended := range []chan error{read, wrote} {
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestAResetIsAnErrorThatNamesIt(t *testing.T) {
	ours, theirs := pair(t, "tcp", "127.0.0.1:0")
	_ = theirs.(*net.TCPConn).SetLinger(0)
	theirs.Close()
	_, err := ours.Read(make([]byte, 1))
	if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "read" || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reading: %v", err)
	}
	if _, err = ours.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("writing: %v", err)
	}
}

func TestWhatIsNoSocketStaysAsItIs(t *testing.T) {
	one, other := net.Pipe()
	defer one.Close()
	defer other.Close()
	if socket.Wrap(one) != one {
		t.Error("a pipe was wrapped")
	}
}

func TestNothingIsAllocated(t *testing.T) {
	ours, theirs := pair(t, "tcp", "127.0.0.1:0")
	buffer := make([]byte, 100)
	if allocated := testing.AllocsPerRun(100, func() {
		_, _ = ours.Write(buffer)
		_, _ = io.ReadFull(theirs, buffer)
		_, _ = theirs.Write(buffer)
		_, _ = io.ReadFull(ours, buffer)
	}); allocated > 0 {
		t.Errorf("%v allocations for a round trip", allocated)
	}
}

func TestWhatIsInsideAConnectionIsFound(t *testing.T) {
	ours, _ := pair(t, "tcp", "127.0.0.1:0")
	inner, ok := socket.Within[*net.TCPConn](ours)
	if !ok || inner.LocalAddr() != ours.LocalAddr() {
		t.Errorf("got %v, %v", inner, ok)
	}
	if same, ok := socket.Within[net.Conn](ours); !ok || same != ours {
		t.Errorf("the first one is the connection itself, not %v", same)
	}
	if _, ok := socket.Within[*net.UnixConn](ours); ok {
		t.Error("what is not there was found")
	}
	one, other := net.Pipe()
	defer one.Close()
	defer other.Close()
	if err := socket.CloseWrite(one); err != nil {
		t.Errorf("a connection that has no halves: %v", err)
	}
}
