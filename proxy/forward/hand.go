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

const (
	// takenOverWithin is how long it may take until the server has written what goes before, and hands over.
	takenOverWithin = 10 * time.Second

	// lingering is how long what a client still sends is read and dropped after an answer that it did not wait for. A
	// connection that is closed with bytes unread is reset, and the reset may overtake the answer.
	lingering = 2 * time.Second

	// tunnelFrame is small because there may be many tunnels, most of them idle, each with two.
	tunnelFrame = 8 << 10
)

// takeOver has the server hand over the client's connection once the handler has returned. Then it writes the head, as it
// is by then, and what serve adds. A server that fails before that does not say so; what waits for it must still end.
func (c *call) takeOver(serve func(client net.Conn) error) {
	c.goesOn = true
	handed, done := make(chan net.Conn), make(chan struct{})
	c.ctx.HijackSetNoResponse(true)
	c.ctx.Hijack(func(client net.Conn) {
		select {
		case handed <- client:
		case <-done:
		}
		<-done
	})
	var cuts chan struct{}
	if c.live != nil {
		cuts = c.live.cuts
	}
	go func() {
		defer close(done)
		select {
		case client := <-handed:
			c.serveByHand(client, serve)
		case <-cuts:
			c.drop(false)
		case <-time.After(takenOverWithin):
			c.drop(false)
		}
	}()
}

func (c *call) serveByHand(client net.Conn, serve func(client net.Conn) error) {
	socket := c.ctx.Conn()
	_ = c.ctx.SetWriteDeadline(time.Now().Add(c.f.cfg.IdleTimeout))
	_, err := client.Write(c.ctx.Response.Header.AppendBytes(nil))
	if err == nil {
		err = serve(client)
	}
	c.drop(false)
	if tcp, ok := socket.(interface{ SetLinger(int) error }); ok && err != nil {
		_ = tcp.SetLinger(0) // a reset: HTTP/1.0 would take an orderly close for the end of the body
	} else if closeWrite(socket) {
		_ = client.SetReadDeadline(time.Now().Add(lingering))
		_, _ = io.Copy(io.Discard, client)
	}
}

// answerByHand writes the answer in the server's place, and closes the client's connection: if the client speaks
// HTTP/1.0 and the length is unknown, or if its upload goes on during the answer or will not be read to its end. A body
// that is held has no stream.
func (c *call) answerByHand(s *stream) {
	c.ctx.Response.Header.SetConnectionClose()
	if s != nil && s.chunked {
		c.ctx.Response.Header.SetContentLength(inChunks)
	}
	c.takeOver(func(client net.Conn) error {
		if s == nil {
			_, err := client.Write(c.ctx.Response.Body())
			return err
		}
		if c.upload != nil {
			c.upload.resume()
		}
		_, err := s.WriteTo(client)
		if err == nil && s.chunked {
			_, err = client.Write([]byte("0\r\n\r\n"))
		}
		return err
	})
}

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
	last atomic.Int64 // when something was read, Unix nanoseconds
}

// copy copies one direction. It passes the end of src, which reads from a connection, on as a half-close, and ends both
// directions on anything else.
func (t *tunnel) copy(dst net.Conn, src io.Reader, from net.Conn) {
	frame := make([]byte, tunnelFrame)
	stamped := readerFunc(func(p []byte) (int, error) {
		n, err := src.Read(p)
		if n > 0 {
			t.last.Store(time.Now().UnixNano())
		}
		return n, err
	})
	p := pipe{src: stamped, dst: dst, reads: from.SetReadDeadline, write: dst.SetWriteDeadline, idle: t.idle}
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

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func closeWrite(c net.Conn) bool {
	half, ok := c.(interface{ CloseWrite() error })
	return ok && half.CloseWrite() == nil
}
