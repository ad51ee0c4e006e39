package serving

import (
	"bytes"
	"net"
	"sync/atomic"
)

// wrapping is a listener of conns.
type wrapping struct{ net.Listener }

func (w wrapping) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

// conn is a client's connection, of which fasthttp gets to read only what has been judged.
type conn struct {
	net.Conn
	lingers atomic.Bool
	closed  atomic.Bool

	// Of the goroutine that reads. Who takes the connection over is started after the handler has set switched.
	framing  framing
	broken   error  // why no more of the requests is read
	withheld []byte // what came after the byte that broke a rule
	switched bool   // what comes is no longer made of requests
}

// Read returns a FramingError from the first byte on that breaks a rule. What was read with it is kept: it may have come
// behind a request to switch to another protocol, whose rules are others.
func (c *conn) Read(p []byte) (int, error) {
	switch {
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
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
