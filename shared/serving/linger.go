package serving

import (
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// A connection that is closed while its client is still sending is reset by the kernel, and the client may never read
// the answer that said why. So what is refused before its end is read a while longer and thrown away: two seconds carry
// what a client has in flight, and 32 MiB in them is more than one that heeds the answer would send.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 32 << 20
)

// Linger keeps the client of ctx from losing the answer, if the connection is closed after it with input left to read.
func Linger(ctx *fasthttp.RequestCtx) {
	if c, ok := ctx.Conn().(*conn); ok {
		c.lingers.Store(true)
	}
}

// stateChanged is told of every change of a connection's state: one that is idle has read all that its client sent, and
// one that is taken over carries something else than requests.
func stateChanged(nc net.Conn, state fasthttp.ConnState) {
	c, ok := nc.(*conn)
	switch {
	case !ok:
	case state == fasthttp.StateIdle:
		c.lingers.Store(false)
	case state == fasthttp.StateHijacked:
		c.lines.off.Store(true)
	}
}

// lingering is a listener whose connections can linger.
type lingering struct{ net.Listener }

func (l lingering) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

type conn struct {
	net.Conn
	lingers atomic.Bool
	closed  atomic.Bool
	lines   lineWatch // of the goroutine that reads
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.lines.see(p[:n])
	return n, err
}

// CloseWrite ends what is sent; what is received goes on.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *conn) Close() error {
	if c.lingers.Load() && !c.closed.Swap(true) && c.CloseWrite() == nil {
		if err := c.SetReadDeadline(time.Now().Add(lingerTime)); err == nil {
			_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
		}
	}
	return c.Conn.Close()
}
