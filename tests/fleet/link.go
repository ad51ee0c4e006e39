package main

import (
	"net"
	"sync"
)

// link is a stretch of network before a server, which can be cut: nothing passes and nothing is closed, as when a cable is
// pulled. All methods are safe for concurrent use.
type link struct {
	addr, server string
	listener     net.Listener
	all          sync.WaitGroup

	mu    sync.Mutex
	cond  *sync.Cond // the next two have changed
	held  bool
	ended bool
	conns map[net.Conn]struct{}
}

func newLink(server string) (*link, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &link{addr: listener.Addr().String(), server: server, listener: listener, conns: make(map[net.Conn]struct{})}
	l.cond = sync.NewCond(&l.mu)
	l.all.Go(l.serve)
	return l, nil
}

// cut holds everything back, or lets it pass again.
func (l *link) cut(held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = held
	l.cond.Broadcast()
}

func (l *link) close() {
	l.listener.Close()
	l.mu.Lock()
	l.ended = true
	for conn := range l.conns {
		conn.Close()
	}
	l.cond.Broadcast()
	l.mu.Unlock()
	l.all.Wait()
}

func (l *link) serve() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp4", l.server)
		if err != nil {
			near.Close()
			continue
		}
		if !l.keep(near, far) {
			return
		}
		l.all.Go(func() { l.pass(near, far) })
		l.all.Go(func() { l.pass(far, near) })
	}
}

// keep remembers connections, unless the link has ended.
func (l *link) keep(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range conns {
		if l.conns[conn] = struct{}{}; l.ended {
			conn.Close()
		}
	}
	return !l.ended
}

func (l *link) pass(from, to net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil || !l.open() {
			break
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, from)
	delete(l.conns, to)
}

// open waits until the link lets something pass; false if it never will again.
func (l *link) open() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.held && !l.ended {
		l.cond.Wait()
	}
	return !l.ended
}
