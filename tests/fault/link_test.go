package fault

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"
)

// A link is a stretch of network in front of a server, which can be made to fail.
type link struct {
	addr   string // where to connect instead of the server
	server string
	ends   func(chunk []byte) bool // whether a chunk from the server is the end of an answer

	all     sync.WaitGroup
	mu      sync.Mutex
	mode    mode
	delay   time.Duration
	changed chan struct{} // closed when mode changes
	conns   map[*net.TCPConn]struct{}
	lost    int // answers
}

// mode is what a link does to bytes.
type mode int

const (
	passes   mode = iota
	refuses       // connections are reset, new ones as well
	holds         // nothing passes, and nothing is closed
	dribbles      // a few bytes at a time
	loses         // an answer that has been given in full is dropped, and its connection reset
	delays        // each way takes so long
)

// readyForQuery is the end of an answer of PostgreSQL outside of a transaction: what it answers is committed.
func readyForQuery(chunk []byte) bool { return bytes.HasSuffix(chunk, []byte("Z\x00\x00\x00\x05I")) }

// everyChunk will do for answers of the writer, which are short.
func everyChunk([]byte) bool { return true }

// newLink returns a link to a server, which need not run. It is gone when the test ends.
func newLink(tb testing.TB, server string, ends func([]byte) bool) *link {
	tb.Helper()
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	l := &link{
		addr: listener.Addr().String(), server: server, ends: ends,
		changed: make(chan struct{}), conns: make(map[*net.TCPConn]struct{}),
	}
	l.all.Go(func() { l.serve(listener) })
	tb.Cleanup(func() {
		listener.Close()
		l.set(refuses)
		l.all.Wait()
	})
	return l
}

// set changes what the link does. Connections live on, but for a link that refuses them.
func (l *link) set(m mode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mode = m
	close(l.changed)
	l.changed = make(chan struct{})
	if m == refuses {
		l.resetLocked()
	}
}

// slow makes each way take so long.
func (l *link) slow(delay time.Duration) {
	l.mu.Lock()
	l.delay = delay
	l.mu.Unlock()
	l.set(delays)
}

func (l *link) delayed() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.delay
}

// reset ends all connections as a network does that has forgotten them.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resetLocked()
}

func (l *link) resetLocked() {
	for conn := range l.conns {
		reset(conn)
	}
}

func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

func (l *link) answersLost() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// await returns the mode once it lets anything pass.
func (l *link) await() mode {
	for {
		l.mu.Lock()
		m, changed := l.mode, l.changed
		l.mu.Unlock()
		if m != holds {
			return m
		}
		<-changed
	}
}

func (l *link) serve(listener *net.TCPListener) {
	for {
		client, err := listener.AcceptTCP()
		if err != nil {
			return
		}
		l.all.Go(func() { l.join(client) })
	}
}

// track remembers a connection, unless the link refuses it.
func (l *link) track(conn *net.TCPConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[conn] = struct{}{}
	return l.mode != refuses
}

func (l *link) forget(conn *net.TCPConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
}

// join leads a connection to the server until either side ends it.
func (l *link) join(client *net.TCPConn) {
	defer l.forget(client)
	defer client.Close()
	if !l.track(client) || l.await() == refuses {
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

// copy passes bytes on, as the mode lets it.
func (l *link) copy(to, from *net.TCPConn, answers bool) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		chunk, size := buffer[:n], n
		switch l.await() {
		case refuses:
			return // and set has reset it
		case dribbles:
			size = 7 // no message of either protocol fits
		case delays:
			<-time.After(l.delayed())
		case loses:
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

func (l *link) lose(conns ...*net.TCPConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost++
	for _, conn := range conns {
		reset(conn)
	}
}
