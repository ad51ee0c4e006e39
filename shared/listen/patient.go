package listen

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"
)

// patient waits where its process or the machine lacks what a connection takes.
type patient struct {
	net.Listener
	log   *slog.Logger
	ended chan struct{} // closed when the listener is
	end   sync.Once

	lacks bool // of the goroutine that accepts
}

// Patient returns a listener that survives a lack of file descriptors and the like. Servers take any error of Accept
// for the end of their listener; these pass as soon as somebody closes a file. Clients wait in the kernel's queue
// meanwhile. Accept is to be called by one goroutine at a time.
func Patient(ln net.Listener, log *slog.Logger) net.Listener {
	return &patient{Listener: ln, log: log, ended: make(chan struct{})}
}

// pause is how long to wait for another descriptor.
const pause = 20 * time.Millisecond

func (p *patient) Accept() (net.Conn, error) {
	for {
		c, err := p.Listener.Accept()
		switch {
		case err == nil:
			if p.lacks {
				p.lacks = false
				p.log.Info("accepting connections again", "listener", p.Addr().String())
			}
			return c, nil
		case !passes(err):
			return nil, err
		case !p.lacks:
			p.lacks = true
			p.log.Error("cannot accept connections", "listener", p.Addr().String(), "error", err)
		}
		select {
		case <-p.ended:
			return nil, net.ErrClosed
		case <-time.After(pause):
		}
	}
}

func (p *patient) Close() error {
	p.end.Do(func() { close(p.ended) })
	return p.Listener.Close()
}

func passes(err error) bool {
	for _, lack := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, lack) {
			return true
		}
	}
	return false
}
