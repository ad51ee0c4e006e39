package link

import (
	"net"
	"slices"
	"sync"
	"time"
)

func (l *Link) serve() {
	for {
		client, err := l.listener.AcceptTCP()
		if err != nil {
			return
		}
		l.all.Go(func() { l.join(client) })
	}
}

// join leads a connection to the server until either side ends it.
func (l *Link) join(client *net.TCPConn) {
	defer l.forget(client)
	defer client.Close()
	if !l.admit(client) {
		return
	}
	conn, err := net.Dial("tcp4", l.server)
	if err != nil {
		return
	}
	server := conn.(*net.TCPConn)
	defer l.forget(server)
	defer server.Close()
	if !l.track(server) {
		return
	}
	var upward sync.WaitGroup
	defer upward.Wait()
	upward.Go(func() {
		l.copy(server, client, false)
		server.Close()
	})
	l.copy(client, server, true)
	client.Close()
}

// admit waits until a new connection may pass; false if it is refused.
func (l *Link) admit(client *net.TCPConn) bool {
	tracked := l.track(client)
	if m := l.await(Holds, HoldsNew); tracked && m != Refuses && m != RefusesNew {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused++
	reset(client)
	return false
}

// track remembers a connection, unless the link refuses all.
func (l *Link) track(conn *net.TCPConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[conn] = struct{}{}
	return l.mode != Refuses
}

func (l *Link) forget(conn *net.TCPConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
}

// await returns the mode once it is none of these.
func (l *Link) await(held ...Mode) Mode {
	for {
		l.mu.Lock()
		m, changed := l.mode, l.changed
		l.mu.Unlock()
		if !slices.Contains(held, m) {
			return m
		}
		<-changed
	}
}

// copy passes bytes on, as the mode lets it.
func (l *Link) copy(to, from *net.TCPConn, answers bool) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		chunk, size := buffer[:n], n
		switch l.await(Holds) {
		case Refuses:
			return // and Set has reset it
		case Dribbles:
			size = 7 // no message of PostgreSQL or HTTP fits
		case Delays:
			<-time.After(l.delayed())
		case Loses:
			if answers && l.ends(chunk) {
				l.lose(to, from)
				return
			}
		}
		for len(chunk) > 0 {
			part := chunk[:min(size, len(chunk))]
			if _, err := to.Write(part); err != nil {
				return
			}
			chunk = chunk[len(part):]
		}
	}
}

func (l *Link) delayed() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.delay
}

func (l *Link) lose(conns ...*net.TCPConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost++
	reset(conns...)
}
