package forward

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"keygate/proxy/header"
)

// tunnelFrame is small because there may be many tunnels, most of them idle, each with two.
const tunnelFrame = 8 << 10

// switchProtocols passes an answer of 101 on and joins the two connections.
func (c *call) switchProtocols(h head) error {
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
		t := tunnel{idle: c.f.cfg.IdleTimeout}
		done := make(chan struct{})
		go func() {
			defer close(done)
			t.copy(c.up.Conn, client, c.ctx.Conn())
		}()
		t.copy(c.ctx.Conn(), c.up.br, c.up.Conn)
		<-done
		return nil
	})
	return nil
}

// tunnel is idle when neither direction carries anything.
type tunnel struct {
	idle time.Duration
	last atomic.Int64
}

// copy copies one direction. It passes the end of src, which reads from a connection, on as a half-close, and ends both
// directions on anything else.
func (t *tunnel) copy(dst net.Conn, src io.Reader, from net.Conn) {
	p := pipe{src: src, dst: dst, reads: from.SetReadDeadline, write: dst.SetWriteDeadline, idle: t.idle, last: &t.last}
	frame := make([]byte, tunnelFrame)
	for {
		_, end, broken := p.run(frame)
		otherIsBusy := time.Since(time.Unix(0, t.last.Load())) < t.idle
		switch {
		case broken == nil && errors.Is(end, os.ErrDeadlineExceeded) && otherIsBusy:
		case broken == nil && end == io.EOF && closeWrite(dst):
			return
		default:
			dst.Close()
			from.Close()
			return
		}
	}
}
