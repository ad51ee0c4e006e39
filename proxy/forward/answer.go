package forward

import (
	"bytes"
	"io"
	"slices"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/proxy/header"
)

// answer passes on the answer whose head is in the connection's buffer, and gives the connection back, or sees to it
// that this happens once the body has been streamed.
func (c *call) answer(h head) error {
	if h.status == fasthttp.StatusSwitchingProtocols {
		return c.switchProtocols(h)
	}
	if err := c.fill(h); err != nil {
		return err
	}
	pass := c.answerHeld
	if h.length < 0 || h.length > maxHeld {
		pass = c.answerStream
	}
	err := pass(h)
	if err != nil {
		c.ctx.Response.Reset()
	}
	return err
}

// fill has fasthttp read the head from the connection's buffer. What is not to be passed on is taken out before, by
// moving what stands in front of it; so nothing that was dropped can mean anything to fasthttp. Names keep their case.
func (c *call) fill(h head) error {
	section, _ := c.up.br.Peek(h.size)
	section[len("HTTP/1.")] = '1'
	first := section[:bytes.IndexByte(section, '\n')+1]
	if c.lines.HasConnection() {
		for i := range c.lines {
			if c.lines[i].Kind == header.Other && c.lines.Named(c.lines[i].Name) {
				c.lines[i].Kind = header.HopByHop
			}
		}
	}
	from := h.size - len(crlf)
	for _, line := range slices.Backward(c.lines) {
		switch line.Kind {
		case header.TransferEncoding, header.Connection, header.HopByHop, header.Upgrade:
		default:
			from -= len(line.Raw)
			copy(section[from:], line.Raw)
		}
	}
	from -= len(first)
	copy(section[from:], first)
	_, _ = c.up.br.Discard(from)

	c.refused = false
	c.ctx.Response.ResetBody()
	into := &c.ctx.Response.Header
	into.DisableNormalizing()
	err := into.Read(c.up.br)
	into.EnableNormalizing()
	if err != nil {
		return bad(err)
	}
	into.ResetConnectionClose() // set for want of the framing that was dropped
	return nil
}

// answerHeld reads a short body before the client gets to see anything of the answer.
func (c *call) answerHeld(h head) error {
	resp, size := &c.ctx.Response, int(h.length)
	if size <= c.up.br.Buffered() {
		body, _ := c.up.br.Peek(size)
		resp.SetBody(body)
		_, _ = c.up.br.Discard(size)
	} else {
		_ = c.up.wait(time.Now().Add(c.f.cfg.IdleTimeout))
		body := slices.Grow(resp.SwapBody(nil)[:0], size)[:size]
		if _, err := io.ReadFull(c.up.br, body); err != nil {
			return err
		}
		resp.SwapBody(body)
	}
	unsent := c.upload != nil && !c.upload.settle(h, false)
	if c.drop(h.keep); unsent {
		c.answerByHand(nil)
	}
	return nil
}

// answerStream leaves the body to be read while it is written to the client.
func (c *call) answerStream(h head) error {
	if c.live == nil {
		if err := c.f.begin(c); err != nil {
			return err
		}
	}
	s := newStream(c, h)
	if unsent := c.upload != nil && !c.upload.settle(h, true); unsent || h.length < 0 && !c.http11 {
		c.answerByHand(s)
		return nil
	}
	c.goesOn = true
	c.ctx.Response.ImmediateHeaderFlush = true
	c.ctx.Response.SetBodyStream(s, int(max(h.length, inChunks)))
	return nil
}
