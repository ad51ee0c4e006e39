// Package poll tells one goroutine which of many sockets may be read, so that it serves all of them, and none needs a
// goroutine, a stack and buffers of its own while it waits.
package poll

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// batch is how many events Dispatch handles before other goroutines get their turn: at 15 µs each, a millisecond.
	batch = 64

	// linger is how long Wait keeps its processor, as if it were computing, when something is likely to come: when something
	// came as soon after the last time, at a few thousand events a second. Go's monitor would take the processor away, start
	// a thread on it, and have it given back: of 6,000 requests a second each cost 122 µs with that, and 97 without, and
	// under full load 8 % of the processors were idle. Nothing waits longer for that processor, nor for a collection of
	// garbage to begin.
	linger = 200 * time.Microsecond
)

// Handler is who is told about a socket.
type Handler interface {
	// Readable is called by Dispatch when something has come, or the end. What is not read then is not told of again until
	// more comes. ended says that the other side will send nothing further, and is told once.
	Readable(ended bool)
}

// Poller watches sockets by epoll, edge-triggered. Wait and Dispatch belong to one goroutine, the rest is for all.
//
// A Wait that takes long is one of Go's own poller, for the epoll descriptor. A thread that waited by itself would keep the
// scheduler's leave to run goroutines, and with as many pollers as processors nobody would look after all other sockets of
// the program for up to 10 ms: p99 of 400 requests a second beside revocations was 15 to 20 ms instead of 6.
type Poller struct {
	file   *os.File // of the epoll descriptor
	epoll  int
	raw    syscall.RawConn // of file
	step   func(fd uintptr) (done bool)
	events [batch]unix.EpollEvent
	found  int
	busy   bool // something came within linger

	mu      sync.Mutex // held for moments
	watched []Handler  // by descriptor; nil if it is not watched
	until   time.Time  // the deadline in force
	woken   bool
	closed  bool
}

// New returns a Poller that watches nothing.
func New() (*Poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		err = unix.SetNonblock(epoll, true) // or Go's poller would not take it
	}
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	p := &Poller{file: os.NewFile(uintptr(epoll), "epoll"), epoll: epoll}
	p.step = p.look
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, p.file.Close())
	}
	return p, nil
}

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

// Wait waits until a socket may be read, until the time given, or until Wake is called. If that time is over, it looks all
// the same, and leaves a Wake to the next Wait. It fails once p is closed.
func (p *Poller) Wait(until time.Time) error {
	p.found = 0
	if !until.After(time.Now()) {
		return p.raw.Control(func(fd uintptr) { p.look(fd) })
	}
	if p.resume(until) {
		return nil
	}
	if p.busy {
		if p.found = look(p.epoll, p.events[:], linger); p.found > 0 {
			return nil
		}
	}
	began := time.Now()
	err := p.raw.Read(p.step)
	p.busy = time.Since(began) < linger
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

// resume sets the deadline, or says that somebody has called Wake.
func (p *Poller) resume(until time.Time) (woken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if woken, p.woken = p.woken, false; woken || until.Equal(p.until) {
		return woken
	}
	p.until = until
	_ = p.file.SetReadDeadline(until) // fails only when closed, and then so does the read
	return false
}

// look is called at first, and whenever there may be something.
func (p *Poller) look(uintptr) (done bool) {
	p.found = look(p.epoll, p.events[:], 0)
	return p.found > 0
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
	for _, h := range p.watched {
		if h != nil {
			dst = append(dst, h)
		}
	}
	return dst
}

// Wake ends the Wait that goes on, or the next one.
func (p *Poller) Wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.woken, p.until = true, time.Unix(0, 1)
	_ = p.file.SetReadDeadline(p.until)
}

// Close ends all watching. The sockets stay open, and Watched goes on to return their handlers.
func (p *Poller) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	return p.file.Close()
}
