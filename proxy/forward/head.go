package forward

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/valyala/fasthttp"

	"keygate/proxy/header"
)

const (
	maxHead    = 64 << 10
	maxInterim = 16 // answers of 1xx before the final one; they are not passed on

	inChunks, untilClose = -1, -2 // lengths of a body that are no number
)

var crlf = []byte("\r\n")

// head is what the head of an answer says of its body and of its connection.
type head struct {
	size   int // of the head itself
	status int
	length int64 // of the body: bytes, inChunks or untilClose
	keep   bool  // the connection may be used again
}

func bad(what any) error { return fmt.Errorf("%w: %v", ErrBadResponse, what) }

// readHead returns the head of the final answer and leaves it in the connection's buffer.
func (c *call) readHead() (head, error) {
	for range maxInterim {
		section, err := c.up.peekHead()
		if err != nil {
			return head{}, err
		}
		h, err := c.parseHead(section)
		if err != nil || h.status >= 200 || h.status == fasthttp.StatusSwitchingProtocols {
			return h, err
		}
		_, _ = c.up.br.Discard(h.size)
	}
	return head{}, bad("too many interim answers")
}

// peekHead waits for a whole head, and returns it with the empty line that ends it.
func (c *conn) peekHead() ([]byte, error) {
	for {
		buffer, _ := c.br.Peek(c.br.Buffered())
		if end := bytes.Index(buffer, []byte("\r\n\r\n")); end >= 0 {
			return buffer[:end+4], nil
		}
		if !bytes.HasPrefix([]byte("HTTP/1."), buffer[:min(len(buffer), 7)]) ||
			bytes.Count(buffer, crlf[1:]) != bytes.Count(buffer, crlf) || len(buffer) >= maxHead {
			return nil, bad("no head of HTTP/1, or none of acceptable length")
		}
		if len(buffer) == c.br.Size() {
			c.br = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(bytes.Clone(buffer)), c), maxHead)
		}
		if _, err := c.br.Peek(len(buffer) + 1); err != nil {
			return nil, err
		}
	}
}

// parseHead reads a head so strictly that no two readers could frame the answer differently.
func (c *call) parseHead(section []byte) (h head, err error) {
	first, rest, _ := bytes.Cut(section, crlf)
	control := func(b byte) bool { return b < ' ' && b != '\t' || b == 0x7f }
	if len(first) < 12 || len(first) > 12 && first[12] != ' ' || slices.ContainsFunc(first, control) {
		return h, bad("status line")
	}
	version, code := string(first[:9]), string(first[9:12])
	if h.status, err = strconv.Atoi(code); err != nil || h.status < 100 || version != "HTTP/1.0 " && version != "HTTP/1.1 " {
		return h, bad("status line")
	}
	if c.lines, err = header.Parse(c.lines[:0], rest); err != nil {
		return h, bad(err)
	}
	h.size = len(section)
	h.length, err = c.framing(version == "HTTP/1.1 ")
	if c.isHead || h.status < 200 || h.status == fasthttp.StatusNoContent || h.status == fasthttp.StatusNotModified {
		h.length = 0
	}
	h.keep = version == "HTTP/1.1 " && h.length != untilClose && !c.lines.Named([]byte("close"))
	return h, err
}

// framing is RFC 9112, section 6.3, with nothing forgiven.
func (c *call) framing(http11 bool) (int64, error) {
	length, errLength := c.lines.One(header.ContentLength)
	encoding, errEncoding := c.lines.One(header.TransferEncoding)
	switch {
	case errLength != nil || errEncoding != nil || length != nil && encoding != nil:
		return 0, bad("it is framed twice")
	case length != nil:
		n, err := strconv.ParseUint(string(length.Value), 10, 63)
		if err != nil {
			return 0, bad("Content-Length")
		}
		return int64(n), nil
	case encoding == nil:
		return untilClose, nil
	case http11 && header.EqualFold(encoding.Value, "chunked"):
		return inChunks, nil
	}
	return 0, bad("Transfer-Encoding")
}
