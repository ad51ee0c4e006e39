package e2e

import (
	"bufio"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// backend is an API behind a proxy, of which a test has every connection in its own hands.
type backend struct {
	addr, url string
	listener  net.Listener
	group     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	ended bool
}

// startBackend gives each connection to serve and closes it afterwards, until the test ends.
func startBackend(tb testing.TB, serve func(p *peer)) *backend {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return backendOn(tb, listener, serve)
}

func backendOn(tb testing.TB, listener net.Listener, serve func(p *peer)) *backend {
	tb.Helper()
	b := &backend{addr: listener.Addr().String(), listener: listener, conns: map[net.Conn]struct{}{}}
	b.url = "http://" + b.addr
	b.group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			b.group.Go(func() { b.serve(conn, serve) })
		}
	})
	tb.Cleanup(b.close)
	return b
}

func (b *backend) serve(conn net.Conn, serve func(p *peer)) {
	defer conn.Close()
	b.mu.Lock()
	b.conns[conn] = struct{}{}
	late := b.ended
	b.mu.Unlock()
	if !late {
		serve(&peer{Conn: conn, reader: bufio.NewReader(conn)})
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, conn)
}

// dropAll closes every connection from this side.
func (b *backend) dropAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for conn := range b.conns {
		_ = conn.Close()
	}
}

func (b *backend) close() {
	_ = b.listener.Close()
	b.mu.Lock()
	b.ended = true
	b.mu.Unlock()
	b.dropAll()
	b.group.Wait()
}

// peer is the other side of a connection. Its methods say whether the connection still stood.
type peer struct {
	net.Conn
	reader *bufio.Reader
}

// request reads a request with its body.
func (p *peer) request() (seen, bool) {
	s, err := readSeen(p.reader)
	return s, err == nil
}

// head reads a request without its body.
func (p *peer) head() (s seen, ok bool) {
	var err error
	if s.line, err = readLine(p.reader); err != nil {
		return s, false
	}
	s.headers, err = readLines(p.reader)
	return s, err == nil
}

func (p *peer) send(text string) bool {
	_, err := io.WriteString(p.Conn, text)
	return err == nil
}

// reset closes the connection in a way that the other side takes for a failure.
func (p *peer) reset() {
	if tcp, ok := p.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = p.Close()
}

// hang reads until the other side gives up, and answers nothing.
func (p *peer) hang() { _, _ = io.Copy(io.Discard, p.reader) }

// takesAtMost writes to conn, which nobody reads, until it takes no more for a while, and says how much it took.
func takesAtMost(conn net.Conn, limit int) (taken int) {
	piece := make([]byte, 64<<10)
	for taken < limit {
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := conn.Write(piece)
		if taken += n; err != nil {
			break
		}
	}
	return taken
}
