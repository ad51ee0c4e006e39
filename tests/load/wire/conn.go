// Package wire is the load generator's side of HTTP/1.1: one request in flight on a keep-alive connection, nothing
// allocated and two system calls an exchange.
package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"keygate/shared/socket"
)

// ErrBadResponse is an answer that is not HTTP/1.1 as far as this package understands it.
var ErrBadResponse = errors.New("not an HTTP/1.1 response")

// A server may close an idle connection when it likes: one unused for this long is looked at before it is written to.
const idleBeforeProbe = 500 * time.Millisecond

// Conn is one connection; it belongs to one goroutine.
type Conn struct {
	tcp      net.Conn
	raw      syscall.RawConn
	timeout  time.Duration
	deadline time.Time
	lastUse  time.Time
	closing  bool // the server said that it will close, or an exchange failed

	request  []byte // what is still to be written
	received []byte // the answer so far; its capacity is the buffer
	stepErr  error
	step     func(fd uintptr) bool // the method value exchange, bound once: per request it would be an allocation
}

// Reply is an answer; Body is valid until the next exchange.
type Reply struct {
	Status int
	Body   []byte
}

// Dial connects to a host:port. An exchange is given up after timeout, or up to an eighth of it later.
func Dial(ctx context.Context, address string, timeout time.Duration) (*Conn, error) {
	dialer := net.Dialer{Timeout: timeout}
	tcp, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	raw, err := tcp.(*net.TCPConn).SyscallConn()
	if err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	c := &Conn{tcp: tcp, raw: raw, timeout: timeout, lastUse: time.Now(), received: make([]byte, 0, 4<<10)}
	c.step = c.exchange
	return c, nil
}

// Usable tells whether another request can be sent. It is exact about what the server announced, and asks the kernel
// after a pause.
func (c *Conn) Usable(now time.Time) bool {
	if c.closing || now.Sub(c.lastUse) < idleBeforeProbe {
		return !c.closing
	}
	var one [1]byte
	err := c.raw.Read(func(fd uintptr) bool {
		_, c.stepErr = socket.Read(fd, one[:])
		return true
	})
	// Anything but "nothing yet" is an end of file, an error, or an answer nobody asked for.
	c.closing = err != nil || c.stepErr != syscall.EAGAIN
	return !c.closing
}

// Exchange sends one complete request and receives its answer.
func (c *Conn) Exchange(request []byte, now time.Time) (Reply, error) {
	c.lastUse = now
	reply, err := c.roundTrip(request, now)
	c.closing = c.closing || err != nil
	return reply, err
}

// Close closes the connection.
func (c *Conn) Close() error { return c.tcp.Close() }

func (c *Conn) roundTrip(request []byte, now time.Time) (Reply, error) {
	if c.deadline.Sub(now) < c.timeout { // moved an eighth at a time, because each move re-arms two timers
		c.deadline = now.Add(c.timeout + c.timeout/8)
		if err := c.tcp.SetDeadline(c.deadline); err != nil {
			return Reply{}, err
		}
	}
	c.request, c.received = request, c.received[:0]
	for {
		if err := errors.Join(c.raw.Read(c.step), c.stepErr); err != nil {
			return Reply{}, err
		}
		if reply, done, err := c.parse(); done || err != nil {
			return reply, err
		}
	}
}

// exchange runs inside RawConn.Read, which arms the poller before it calls. To write in here and return false is to
// wait for the answer without asking the kernel for what cannot be there yet: two system calls instead of three.
func (c *Conn) exchange(fd uintptr) bool {
	if c.request != nil {
		c.stepErr = c.send(fd)
		return c.stepErr != nil
	}
	n, err := socket.Read(fd, c.received[len(c.received):cap(c.received)])
	switch {
	case err == syscall.EAGAIN:
		return false
	case err == nil && n == 0:
		err = io.ErrUnexpectedEOF
	}
	c.stepErr = err
	c.received = c.received[:len(c.received)+n]
	return true
}

func (c *Conn) send(fd uintptr) error {
	request := c.request
	c.request = nil
	n, err := socket.Write(fd, request)
	if err == nil && n == len(request) {
		return nil
	}
	if err != nil && err != syscall.EAGAIN {
		return err
	}
	_, err = c.tcp.Write(request[n:]) // the socket's buffer is full: let the poller wait
	return err
}
