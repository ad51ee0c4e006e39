package forward

import (
	"io"
	"net"
	"strings"
	"time"

	"keygate/proxy/header"
	"keygate/shared/socket"
)

// tunnelFrame is small because there may be many tunnels, most of them idle, each with two.
const tunnelFrame = 8 << 10

// switchProtocols passes an answer of 101 on and joins the two connections.
func (c *call) switchProtocols(h Head) error {
	protocol, err := c.lines.One(header.Upgrade)
	if err != nil || protocol == nil || c.exchange.Upgrade == "" ||
		!strings.EqualFold(string(protocol.Value), c.exchange.Upgrade) {
		return bad("it switches to a protocol that was not asked for")
	}
	if err := c.f.begin(c); err != nil {
		return err
	}
	name := string(protocol.Value)
	if err := c.fill(h); err != nil {
		return err
	}
	c.ctx.Response.Header.Set("Connection", "Upgrade")
	c.ctx.Response.Header.Set("Upgrade", name)
	c.takeOver(func(client net.Conn) error {
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.splice(c.up.Conn, client, c.ctx.Conn())
		}()
		c.splice(c.ctx.Conn(), c.up.R, c.up.Conn)
		<-done
		return nil
	})
	return nil
}

// takeOver has the server hand over the client's connection once the handler has returned and all that goes before has
// been written. Then it writes the head, as it is by then, and what serve adds. A server that fails before that does not
// say so, but what waits for it must still end.
func (c *call) takeOver(serve func(client net.Conn) error) {
	c.goesOn = true
	giveUp := time.AfterFunc(c.f.cfg.IdleTimeout, func() { c.drop(false) })
	c.ctx.HijackSetNoResponse(true)
	c.ctx.Hijack(func(client net.Conn) {
		if !giveUp.Stop() {
			return
		}
		_ = client.SetWriteDeadline(time.Now().Add(c.f.cfg.IdleTimeout))
		_, err := client.Write(c.ctx.Response.Header.AppendBytes(nil))
		if err == nil {
			err = serve(client)
		}
		c.drop(false)
		if err != nil {
			socket.Reset(c.ctx.Conn())
		}
	})
}

// splice copies one direction. It passes the end of src, which reads from a connection, on as a half-close, and ends both
// directions on anything else. A tunnel is idle when neither direction carries anything, so what is written to dst gives
// more time to dst's own direction, too.
func (c *call) splice(dst net.Conn, src io.Reader, from net.Conn) {
	p := pipe{src: src, dst: dst, reads: from.SetReadDeadline, write: dst.SetDeadline, idle: c.f.cfg.IdleTimeout}
	end, broken := p.run(make([]byte, tunnelFrame))
	if broken != nil || end != io.EOF || !closeWrite(dst) {
		dst.Close()
		from.Close()
	}
}

func closeWrite(c net.Conn) bool {
	half, ok := c.(interface{ CloseWrite() error })
	return ok && half.CloseWrite() == nil
}
