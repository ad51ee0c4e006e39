package upstream

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"keygate/shared/socket"
)

// ErrStale reports that on a pooled connection something lay in wait: its end, or bytes that nobody asked for and that
// must never be taken for the answer to the next client. Nothing was sent on it.
var ErrStale = errors.New("the pooled connection was not quiet")

const readerSize = 8 << 10

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readerSize) }}

// Conn is a connection to an upstream. One exchange at a time owns it, from Get to Release.
type Conn struct {
	net.Conn               // TCP, unix or TLS
	R        *bufio.Reader // of the answer; another one, that reads from this connection, may be put in its place

	Reused   bool // this exchange is not its first
	Sent     bool // some of this exchange's request was accepted
	Answered bool // something came back

	// Watcher is who waits for this connection's answers in a way of their own; it stays while the connection is idle.
	Watcher any

	group  *Group // that it was got from
	target *target
	raw    syscall.RawConn
	fd     uintptr // valid until the connection is closed
	tls    bool
	usedAt time.Time
	until  time.Time // the read deadline in force

	request []byte // leaves with the next Read
	unread  []byte // what was received already; it comes first
	into    []byte
	n       int
	err     error
	step    func(fd uintptr) (done bool)
}

func newConn(nc, socket net.Conn, t *target) *Conn {
	if nc == nil {
		return nil
	}
	c := &Conn{Conn: nc, tls: nc != socket, target: t}
	c.raw, _ = socket.(syscall.Conn).SyscallConn() // fails for no socket that was dialled
	_ = c.raw.Control(func(fd uintptr) { c.fd = fd })
	c.step = c.sendAndReceive
	return c
}

// begin makes the connection that of an exchange.
func (c *Conn) begin(now time.Time, reused bool) {
	c.usedAt, c.Reused = now, reused
	c.Sent, c.Answered, c.request, c.unread = false, false, nil, nil
}

// read gives the connection a reader, which idle ones go without.
func (c *Conn) read() {
	c.R = readers.Get().(*bufio.Reader)
	c.R.Reset(c)
}

// Release gives the connection back, to be reused if nothing is left of the answer, and else closed.
func (c *Conn) Release(reuse bool) {
	if reuse = reuse && len(c.unread) == 0; c.R != nil {
		reuse = reuse && c.R.Buffered() == 0
		if c.R.Size() == readerSize {
			c.R.Reset(nil)
			readers.Put(c.R)
		}
		c.R = nil
	}
	c.target.put(c, reuse)
}

// Succeeded says that the upstream answered, and TimedOut that it did not. Several that did not in a row make it sit out.
func (c *Conn) Succeeded() {
	if c.target.failures.Load() != 0 {
		c.target.failures.Store(0)
	}
}

func (c *Conn) TimedOut() { c.group.failed(c.target) }

// Wait sets the read deadline. It fails only on a closed connection, and then so does the read.
func (c *Conn) Wait(until time.Time) error {
	c.until = until
	return c.SetReadDeadline(until)
}

// Send sends a whole request, at the latest when the answer is read, which is awaited for as long as patience and up to
// an eighth longer: a deadline of an earlier exchange is kept if it is good enough, since to set one takes as long as to
// read an answer's head.
func (c *Conn) Send(request []byte, patience time.Duration) error {
	early, late := c.usedAt.Add(patience), c.usedAt.Add(patience+patience/8)
	if c.until.Before(early) || c.until.After(late) {
		_ = c.Wait(late)
	}
	if !c.tls {
		c.request = request
		return nil
	}
	return c.Begin(request, patience)
}

// Begin sends what a request begins with at once, if the connection is still good.
func (c *Conn) Begin(request []byte, patience time.Duration) error {
	stale := false
	err := c.raw.Control(func(fd uintptr) { stale = c.Reused && !quiet(fd, make([]byte, 1)) })
	if err != nil || stale {
		return ErrStale
	}
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	n, err := c.Conn.Write(request)
	c.Sent = c.Sent || n > 0
	return err
}

// Read reads from the upstream, and first sends the request if there is one. It does that inside of the runtime's wait
// for the socket: there the read that proves a pooled connection quiet takes the place of the futile one that would
// otherwise precede the wait. That saves a system call, 0.9 of 23 µs, on each request.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.unread) > 0 {
		n := copy(p, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	if c.request == nil {
		n, err := c.Conn.Read(p)
		c.Answered = c.Answered || n > 0
		return n, err
	}
	c.into, c.n, c.err = p, 0, nil
	err := c.raw.Read(c.step)
	rest := c.request
	c.into, c.request = nil, nil
	switch {
	case err != nil:
		return 0, err
	case c.err == ErrStale:
		return 0, ErrStale
	case len(rest) > 0: // the socket's buffer is full, or broken
		_ = c.SetWriteDeadline(c.until)
		if n, err := c.Conn.Write(rest); err != nil {
			c.Sent = c.Sent || n > 0
			return 0, err
		}
		c.Sent = true
		return c.Read(p)
	case c.err != nil:
		return 0, c.err
	case c.n == 0:
		return 0, io.EOF
	}
	c.Answered = true
	return c.n, nil
}

// sendAndReceive is called at first and whenever the socket may have become readable, until it is done.
func (c *Conn) sendAndReceive(fd uintptr) bool {
	if len(c.request) == 0 {
		c.n, c.err = socket.Read(fd, c.into)
		return c.err != syscall.EAGAIN
	}
	if c.Reused && !quiet(fd, c.into[:1]) {
		c.err = ErrStale
		return true
	}
	n, _ := socket.Write(fd, c.request) // an error shows again when the rest is written
	c.Sent = n > 0
	c.request = c.request[n:]
	return len(c.request) > 0
}

// quiet says whether nothing, not even the end, can be read. A byte that it reads is lost, but then so is the connection.
func quiet(fd uintptr, scratch []byte) bool {
	_, err := socket.Read(fd, scratch)
	return err == syscall.EAGAIN
}
