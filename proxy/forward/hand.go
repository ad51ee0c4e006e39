package forward

import (
	"io"
	"net"
	"time"
)

const (
	// takenOverWithin is how long it may take until the server has written what goes before, and hands over.
	takenOverWithin = 10 * time.Second

	// lingering is how long what a client still sends is read and dropped after an answer that it did not wait for. A
	// connection that is closed with bytes unread is reset, and the reset may overtake the answer.
	lingering = 2 * time.Second
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

func closeWrite(c net.Conn) bool {
	half, ok := c.(interface{ CloseWrite() error })
	return ok && half.CloseWrite() == nil
}
