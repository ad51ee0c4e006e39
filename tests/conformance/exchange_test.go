package conformance

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

const (
	// patience is how long anything may take before the test gives up.
	patience = 10 * time.Second
	// quiet is how long a server that waits for more is left waiting before it is told that there is no more.
	quiet = 700 * time.Millisecond
)

// exchange is one connection: what was sent, and what came back.
type exchange struct {
	of       testCase
	variant  string
	id       string
	sent     []byte
	from, to int // where in sent the case is; honest requests are around it
	received []byte
	waited   bool // the server waited for more than was sent
	hung     bool // and went on waiting after it had been told that there is no more
}

// perform sends parts one after the other on a new connection, each after pause, and reads until the server closes it.
func (x *exchange) perform(tb testing.TB, addr string, parts [][]byte, pause func()) {
	tb.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	var reading sync.WaitGroup
	reading.Go(func() { x.receive(conn.(*net.TCPConn)) })
	for i, part := range parts {
		if i > 0 {
			pause()
		}
		if _, err := conn.Write(part); err != nil {
			break // who refuses need not read on; what was answered shows
		}
	}
	if _, tail := readAll(x.sent); errors.Is(tail, errIncomplete) {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	_ = conn.SetReadDeadline(time.Now().Add(quiet))
	reading.Wait()
}

func (x *exchange) receive(conn *net.TCPConn) {
	piece := make([]byte, 16<<10)
	for {
		n, err := conn.Read(piece)
		x.received = append(x.received, piece[:n]...)
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && !x.waited:
			x.waited = true
			_ = conn.CloseWrite()
			_ = conn.SetReadDeadline(time.Now().Add(patience))
		default:
			x.hung = errors.Is(err, os.ErrDeadlineExceeded)
			return
		}
	}
}

// readAll reads all requests in b; tail says why it ended: nil, errIncomplete, or that the rest is invalid.
func readAll(b []byte) (requests []message, tail error) {
	for len(b) > 0 {
		m, err := readRequest(b)
		if err != nil {
			return append(requests, m), err
		}
		requests, b = append(requests, m), b[m.size:]
	}
	return requests, nil
}

// nudge is a connection on which a request makes a server look at all of its sockets. After it, what was sent before on
// another connection has most likely been read.
type nudge struct {
	conn   net.Conn
	buffer []byte
}

func newNudge(tb testing.TB, addr string) *nudge {
	tb.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	return &nudge{conn: conn, buffer: make([]byte, 4<<10)}
}

func (n *nudge) close() { _ = n.conn.Close() }

// once sends a request without a key, which no upstream gets to see.
func (n *nudge) once(tb testing.TB) {
	tb.Helper()
	_ = n.conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(n.conn, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); err != nil {
		tb.Fatal(err)
	}
	for got := 0; ; {
		read, err := n.conn.Read(n.buffer[got:])
		if err != nil {
			tb.Fatal(err)
		}
		got += read
		if _, err := readResponse(n.buffer[:got], "GET", false); err == nil {
			return
		}
	}
}
