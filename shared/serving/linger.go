package serving

import (
	"net"

	"github.com/valyala/fasthttp"

	"keygate/shared/socket"
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
	if c.lingers.Load() && !c.closed.Swap(true) {
		socket.Linger(c.Conn)
	}
	if c.given.Load() {
		if !c.closed.Swap(true) {
			c.lent.GiveBack()
		}
		return nil
	}
	return c.Conn.Close()
}
