package serving

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/shared/socket"
)

// wrapping is a listener of conns.
type wrapping struct {
	net.Listener
	stall time.Duration
}

func (w wrapping) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	lent, _ := c.(lent)
	return &conn{Conn: c, lent: lent, stall: w.stall}, nil
}

// lent is a connection that its listener takes back.
type lent interface{ GiveBack() }

// conn is a client's connection, of which fasthttp gets to read only what has been judged.
type conn struct {
	net.Conn
	lent    lent // nil if it is this server's to close
	lingers atomic.Bool
	closed  atomic.Bool
	given   atomic.Bool // back, as soon as it is closed

	// Of the goroutine that reads. Who takes the connection over is started after the handler has set switched.
	framing  framing
	broken   error  // why no more of the requests is read
	withheld []byte // what came after the byte that broke a rule
	switched bool   // what comes is no longer made of requests
	idle     bool   // all that came has been answered

	// Of the goroutine that writes.
	stall   time.Duration // how long a client may take nothing of what is written
	writeBy time.Time     // the deadline in force; zero for none
	set     bool          // and somebody else has set it
}

// Write gives up on a client that takes nothing for as long as stall, and up to an eighth longer: a deadline of an earlier
// write is kept if it is good enough. Whoever sets deadlines for writing is not interfered with.
func (c *conn) Write(p []byte) (int, error) {
	if now := time.Now(); !c.set && c.writeBy.Before(now.Add(c.stall)) {
		c.writeBy = now.Add(c.stall + c.stall/8)
		if err := c.Conn.SetWriteDeadline(c.writeBy); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

func (c *conn) SetWriteDeadline(deadline time.Time) error {
	c.writeBy, c.set = deadline, !deadline.IsZero()
	return c.Conn.SetWriteDeadline(deadline)
}

func (c *conn) SetDeadline(deadline time.Time) error {
	c.writeBy, c.set = deadline, !deadline.IsZero()
	return c.Conn.SetDeadline(deadline)
}

// Read returns a FramingError from the first byte on that breaks a rule. What was read with it is kept: it may have come
// behind a request to switch to another protocol, whose rules are others.
func (c *conn) Read(p []byte) (int, error) {
	switch {
	case c.idle && c.lent != nil:
		c.given.Store(true)
		return 0, io.EOF
	case len(c.withheld) > 0 && c.switched:
		n := copy(p, c.withheld)
		c.withheld = c.withheld[n:]
		return n, nil
	case c.broken != nil && !c.switched:
		return 0, c.broken
	}
	n, err := c.Conn.Read(p)
	if c.switched {
		return n, err
	}
	good, broken := c.framing.judge(p[:n])
	if broken != nil {
		c.broken, c.withheld = broken, bytes.Clone(p[good:n])
		return good, nil
	}
	return n, err
}

// NetConn is the connection itself, as of a tls.Conn.
func (c *conn) NetConn() net.Conn { return c.Conn }

// CloseWrite ends what is sent; what is received goes on.
func (c *conn) CloseWrite() error { return socket.CloseWrite(c.Conn) }

// Arrived says whether the body of ctx has come to its end, so that to read it is not to wait.
func Arrived(ctx *fasthttp.RequestCtx) bool {
	c, ok := ctx.Conn().(*conn)
	return ok && c.framing.phase == between
}
