package conformance

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// noted is one request as it reached the upstream.
type noted struct {
	message
	raw []byte
	err error // nil, errIncomplete if the connection ended in it, or why it is no request
}

// reply is what an upstream sends to one request, and whether it closes the connection afterwards.
type reply struct {
	bytes  []byte
	closes bool
}

// upstream is a server on a raw socket that writes down all that it is sent.
type upstream struct {
	listener net.Listener
	answer   func(m *message) reply
	forgets  bool // it writes nothing down
	served   sync.WaitGroup

	mu     sync.Mutex
	notes  map[string][]noted // by the id in their target, or in their bytes
	conns  map[net.Conn]struct{}
	closed bool
}

// newUpstream serves until close, which the test calls once nobody is connected any more.
func newUpstream(tb testing.TB, answer func(m *message) reply) *upstream {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	u := &upstream{listener: listener, answer: answer, notes: map[string][]noted{}, conns: map[net.Conn]struct{}{}}
	u.served.Go(u.accept)
	return u
}

func (u *upstream) addr() string { return u.listener.Addr().String() }

func (u *upstream) accept() {
	for {
		conn, err := u.listener.Accept()
		if err != nil {
			return
		}
		if !u.track(conn) {
			_ = conn.Close()
			return
		}
		u.served.Go(func() { u.serve(conn) })
	}
}

func (u *upstream) track(conn net.Conn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.conns[conn] = struct{}{}
	return !u.closed
}

// close waits until every connection has been read to its end, at most for the patience.
func (u *upstream) close() {
	_ = u.listener.Close()
	u.mu.Lock()
	u.closed = true
	for conn := range u.conns {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
	}
	u.mu.Unlock()
	u.served.Wait()
}

func (u *upstream) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		u.mu.Lock()
		delete(u.conns, conn)
		u.mu.Unlock()
	}()
	var buffer []byte
	for {
		m, err := readRequest(buffer)
		switch {
		case len(buffer) == 0 || errors.Is(err, errIncomplete):
			piece := make([]byte, 32<<10)
			n, ended := conn.Read(piece)
			if buffer = append(buffer, piece[:n]...); ended != nil {
				if len(buffer) > 0 {
					u.note(noted{m, buffer, errIncomplete})
				}
				return
			}
			continue
		case err != nil:
			u.note(noted{m, buffer, err})
			return
		}
		u.note(noted{m, slices.Clone(buffer[:m.size]), nil})
		buffer = buffer[m.size:]
		r := u.answer(&m)
		if _, err := conn.Write(r.bytes); err != nil || r.closes {
			return
		}
	}
}

func (u *upstream) note(n noted) {
	if u.forgets {
		return
	}
	id := findID(n.target)
	if id == "" {
		id = findID(string(n.raw))
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.notes[id] = append(u.notes[id], n)
}

// take returns what was noted since the last call.
func (u *upstream) take() []noted {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := slices.Concat(slices.Collect(maps.Values(u.notes))...)
	clear(u.notes)
	return all
}

// echo answers with the request's target and what it was told of the organisation, so that an answer cannot be taken for
// another's. Targets that end in /chunked are answered in chunks.
func echo(m *message) reply {
	body := fmt.Sprintf("%s %s\n", m.target, m.values("x-org-id"))
	framing := fmt.Sprintf("Content-Length: %d\r\n", len(body))
	if strings.HasSuffix(m.target, "/chunked") {
		framing, body = "Transfer-Encoding: chunked\r\n", fmt.Sprintf("3\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", body[:3], len(body)-3, body[3:])
	}
	if m.method == "HEAD" {
		body = ""
	}
	return reply{bytes: []byte("HTTP/1.1 200 OK\r\n" + framing + "\r\n" + body)}
}
