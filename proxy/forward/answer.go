package forward

import (
	"bytes"
	"io"
	"net"
	"slices"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/proxy/header"
)

// answer passes on the answer whose head is in the connection's buffer, and gives the connection back, or sees to it
// that this happens once the body has been streamed.
func (c *call) answer(h Head) error {
	var err error
	switch {
	case h.Status == fasthttp.StatusSwitchingProtocols:
		err = c.switchProtocols(h)
	case h.Length < 0 || h.Length > maxHeld:
		err = c.answerStream(h)
	default:
		err = c.answerHeld(h)
	}
	if err != nil {
		c.ctx.Response.Reset()
	}
	return err
}

// fill has fasthttp read the head from the connection's buffer. What is not to be passed on is taken out before, by
// moving what stands in front of it; so nothing that was dropped can mean anything to fasthttp. Names keep their case.
func (c *call) fill(h Head) error {
	section, _ := c.up.R.Peek(h.Size)
	section[len("HTTP/1.")] = '1'
	first := section[:bytes.IndexByte(section, '\n')+1]
	connection := c.lines.HasConnection()
	from := h.Size - len(crlf)
	for _, line := range slices.Backward(c.lines) {
		if Passes(&line, c.lines, connection) {
			from -= len(line.Raw)
			copy(section[from:], line.Raw)
		}
	}
	from -= len(first)
	copy(section[from:], first)
	_, _ = c.up.R.Discard(from)

	c.refused = false
	c.ctx.Response.ResetBody()
	into := &c.ctx.Response.Header
	into.DisableNormalizing()
	err := into.Read(c.up.R)
	into.EnableNormalizing()
	if err != nil {
		return bad(err)
	}
	into.ResetConnectionClose() // set for want of the framing that was dropped
	return nil
}

// answerHeld reads a short body before the client gets to see anything of the answer.
func (c *call) answerHeld(h Head) error {
	if err := c.fill(h); err != nil {
		return err
	}
	resp, size := &c.ctx.Response, int(h.Length)
	if size <= c.up.R.Buffered() {
		body, _ := c.up.R.Peek(size)
		resp.SetBody(body)
		_, _ = c.up.R.Discard(size)
	} else {
		_ = c.up.Wait(time.Now().Add(c.f.cfg.IdleTimeout))
		body := slices.Grow(resp.SwapBody(nil)[:0], size)[:size]
		if _, err := io.ReadFull(c.up.R, body); err != nil {
			return err
		}
		resp.SwapBody(body)
	}
	if c.upload != nil {
		c.upload.settle(h, false)
	}
	c.drop(h.Keep)
	return nil
}

// answerStream leaves the body to be read while it is written to the client.
func (c *call) answerStream(h Head) error {
	if c.end == nil {
		if err := c.f.begin(c); err != nil {
			return err
		}
	}
	if err := c.fill(h); err != nil {
		return err
	}
	if c.upload != nil {
		c.upload.settle(h, true)
	}
	s := newStream(c, h)
	if h.Length < 0 && !c.http11 { // fasthttp would use chunks
		c.ctx.Response.Header.SetConnectionClose()
		c.takeOver(func(net.Conn) error {
			_, err := s.WriteTo(nil)
			return err
		})
		return nil
	}
	c.goesOn = true
	c.ctx.Response.ImmediateHeaderFlush = true
	c.ctx.Response.SetBodyStream(s, int(max(h.Length, header.Chunked)))
	return nil
}
