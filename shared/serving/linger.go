package serving

import (
	"io"
	"net"
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

// stateChanged is told of every change of a connection's state: one that is idle has read all that its client sent.
func stateChanged(nc net.Conn, state fasthttp.ConnState) {
	c, ok := nc.(*conn)
	switch {
	case ok && state == fasthttp.StateIdle:
		c.lingers.Store(false)
		c.idle = true
	case ok && state == fasthttp.StateActive:
		c.idle = false
	}
}

func (c *conn) Close() error {
	if c.lingers.Load() && !c.closed.Swap(true) && c.CloseWrite() == nil {
		if err := c.SetReadDeadline(time.Now().Add(lingerTime)); err == nil {
			_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
		}
	}
	if c.given.Load() {
		if !c.closed.Swap(true) {
			c.lent.GiveBack()
		}
		return nil
	}
	return c.Conn.Close()
}
