package listen_test

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"keygate/shared/listen"
)

// scripted is a listener that has these errors, and after each nil a connection.
type scripted struct{ errs []error }

func (s *scripted) Accept() (net.Conn, error) {
	err := s.errs[0]
	s.errs = s.errs[1:]
	if err != nil {
		return nil, err
	}
	return &net.TCPConn{}, nil
}

func (s *scripted) Addr() net.Addr { return &net.TCPAddr{Port: 8080} }
func (s *scripted) Close() error   { return nil }

func TestAListenerSurvivesALackOfDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		lack := &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
		ln := listen.Patient(&scripted{[]error{lack, lack, syscall.ENFILE, nil, nil, lack, nil}}, slog.New(slog.NewTextHandler(&log, nil)))
		for range 3 {
			if c, err := ln.Accept(); c == nil || err != nil {
				t.Errorf("got %v", err)
			}
		}
		if strings.Count(log.String(), "cannot accept") != 2 || strings.Count(log.String(), "\n") != 4 {
			t.Errorf("logged %s", log.String())
		}
	})
}

func TestAListenerThatLacksDescriptorsCanBeClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := listen.Patient(&scripted{[]error{syscall.EMFILE, syscall.EMFILE}}, slog.New(slog.DiscardHandler))
		accepted := make(chan error)
		go func() {
			_, err := ln.Accept()
			accepted <- err
		}()
		synctest.Wait() // it waits for a descriptor now
		if err := errors.Join(ln.Close(), ln.Close()); err != nil {
			t.Error(err)
		}
		if err := <-accepted; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

func TestOtherErrorsOfAListenerAreReturned(t *testing.T) {
	ln := listen.Patient(&scripted{[]error{syscall.EINVAL}}, slog.New(slog.DiscardHandler))
	if _, err := ln.Accept(); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("got %v", err)
	}
}
