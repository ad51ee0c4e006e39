// Package poll tells one goroutine which of many sockets may be read, so that it serves all of them, and none needs a
// goroutine, a stack and buffers of its own while it waits.
package poll

import (
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// batch is how many events Dispatch handles before other goroutines get their turn: at 15 µs each, a millisecond.
	batch = 64

	// linger is how long Wait keeps its processor, as if it were computing, when something is likely to come. That is
	// when something came as soon after the last time: at a few thousand events a second. Go's monitor would take the
	// processor away, start a thread on it, and have it given back: of 6,000 requests a second each cost 122 µs with
	// that, and 97 without. Nothing waits longer for that processor, nor for a collection of garbage to begin.
	linger = 200 * time.Microsecond
)

// Handler is who is told about a socket.
type Handler interface {
	// Readable is called by Dispatch when something has come, or the end. What is not read then is not told of again until
	// more comes. ended says that the other side will send nothing further, and is told once.
	Readable(ended bool)
}

// Poller watches sockets by epoll, edge-triggered. Wait and Dispatch belong to one goroutine, the rest is for all.
type Poller struct {
	epoll, wake int // descriptors; what is written to wake ends a Wait
	events      [batch]unix.EpollEvent
	found       int
	busy        bool // something came within linger

	mu      sync.Mutex // held for moments
	watched []Handler  // by descriptor; nil if it is not watched
	closed  bool
}

// New returns a Poller that watches nothing.
func New() (*Poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("eventfd", err), unix.Close(epoll))
	}
	p := &Poller{epoll: epoll, wake: wake}
	if err := p.Add(wake, woken{}); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// woken has nothing to do: that something was found ends a Wait.
type woken struct{}

func (woken) Readable(bool) {}

// Add watches a non-blocking socket until it is removed or closed. What it has to read already is told of, too.
func (p *Poller) Add(fd int, h Handler) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return os.ErrClosed
	}
	for len(p.watched) <= fd {
		p.watched = append(p.watched, nil)
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(fd)}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	p.watched[fd] = h
	return nil
}

// Remove ends the watching of an open socket: its handler is not called any more, unless it is being called now.
func (p *Poller) Remove(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if fd < len(p.watched) && p.watched[fd] != nil && !p.closed {
		p.watched[fd] = nil
		_ = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, fd, nil) // fails only for what has been closed
	}
}

// Wait waits until a socket may be read, until the time given, or until Wake is called.
func (p *Poller) Wait(until time.Time) (err error) {
	patience := time.Duration(0)
	if p.busy {
		patience = linger
	}
	if p.found = look(p.epoll, p.events[:], patience); p.found > 0 {
		return nil
	}
	began := time.Now()
	p.found, err = wait(p.epoll, p.events[:], until.Sub(began))
	p.busy = time.Since(began) < linger
	return err
}

// wait tells the scheduler that its thread waits.
func wait(epoll int, events []unix.EpollEvent, patience time.Duration) (int, error) {
	n, err := unix.EpollWait(epoll, events, max(0, int(patience.Milliseconds())+1))
	if err == unix.EINTR {
		return 0, nil
	}
	return max(n, 0), os.NewSyscallError("epoll_wait", err)
}

// Dispatch calls the handlers of what Wait has found, and says how much that was.
func (p *Poller) Dispatch() int {
	defer func() { p.found = 0 }()
	for _, event := range p.events[:p.found] {
		if h := p.handler(int(event.Fd)); h != nil {
			h.Readable(event.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0)
		}
	}
	return p.found
}

func (p *Poller) handler(fd int) Handler {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.watched[fd]
}

// Watched appends the handlers of all sockets to dst.
func (p *Poller) Watched(dst []Handler) []Handler {
	p.mu.Lock()
	defer p.mu.Unlock()
	for fd, h := range p.watched {
		if h != nil && fd != p.wake {
			dst = append(dst, h)
		}
	}
	return dst
}

// Wake ends the Wait that goes on, or the next one.
func (p *Poller) Wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		_, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // fails only after four thousand million times
	}
}

// Close ends all watching, and is to be called when nobody waits. The sockets stay open, and Watched goes on to return
// their handlers.
func (p *Poller) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	return errors.Join(unix.Close(p.epoll), unix.Close(p.wake))
}
