package forward

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"keygate/proxy/header"
	"keygate/shared/serving"
)

// maxHeld is how long a body may be to be held in memory: a request's to be sent in one piece, and again if need be; an
// answer's so that its breaking off can still become an answer of ours.
const maxHeld = 64 << 10

// prepare writes the request, with the whole body if it is short and its length known. Chunks are never held: they may
// be one side of a conversation. A server that streams gives a stream exactly to requests that had framing.
func (c *call) prepare() error {
	h, body := &c.ctx.Request.Header, c.ctx.Request.BodyStream()
	c.isHead, c.http11, c.length = h.IsHead(), h.IsHTTP11(), max(int64(h.ContentLength()), header.Chunked)
	if c.tooLarge(c.length) {
		return ErrBodyTooLarge
	}
	c.out = AppendHead(c.out, c.ctx.Method(), c.exchange.Target, c.exchange.Header)
	if body == nil {
		c.safe = c.isHead || h.IsGet() || h.IsOptions()
		if protocol := c.exchange.Upgrade; protocol != "" {
			c.out = append(append(c.out, "Connection: Upgrade\r\nUpgrade: "...), protocol...)
			c.out = append(c.out, "\r\n"...)
		}
	} else if c.exchange.Upgrade = ""; c.length == header.Chunked {
		c.out = append(c.out, "Transfer-Encoding: chunked\r\n"...)
	} else {
		c.out = AppendLength(c.out, c.length)
	}
	c.out = append(c.out, "\r\n"...)
	if body != nil && (c.length == header.Chunked || c.length > maxHeld) {
		c.body = body
		return nil
	}
	for _, prefix := range c.f.cfg.Idempotent {
		c.idempotent = c.idempotent || bytes.HasPrefix(c.exchange.Target, []byte(prefix))
	}
	if body != nil {
		if err := c.hold(body, int(c.length)); err != nil {
			return err
		}
	}
	if c.exchange.Begun != nil { // the same bytes, lest a repeat be taken for another request
		c.out = append(c.out[:0], c.exchange.Begun.Request...)
	}
	return nil
}

// AppendHead appends the first line of a request and the lines of its Exchange.
func AppendHead(dst, method, target, lines []byte) []byte {
	dst = append(append(dst, method...), ' ')
	dst = append(append(dst, target...), " HTTP/1.1\r\n"...)
	return append(dst, lines...)
}

// AppendLength appends the line that frames a body of known length.
func AppendLength(dst []byte, length int64) []byte {
	dst = strconv.AppendInt(append(dst, "Content-Length: "...), length, 10)
	return append(dst, "\r\n"...)
}

// hold reads a body behind the head. The client may take its time, but may not stall.
func (c *call) hold(body io.Reader, size int) error {
	from := len(c.out)
	c.out = slices.Grow(c.out, size)[:from+size]
	for rest := c.out[from:]; len(rest) > 0; {
		if !serving.Arrived(c.ctx) {
			_ = c.ctx.SetReadDeadline(time.Now().Add(c.f.cfg.IdleTimeout))
		}
		n, err := body.Read(rest)
		if rest = rest[n:]; err != nil && len(rest) > 0 {
			return clientError(err)
		}
	}
	return nil
}

func (c *call) tooLarge(size int64) bool { return c.f.cfg.MaxBody > 0 && size > c.f.cfg.MaxBody }

func clientError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrClientTimeout
	}
	return fmt.Errorf("%w: %w", ErrClientBody, err)
}
