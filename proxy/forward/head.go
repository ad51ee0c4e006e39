package forward

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/proxy/header"
)

const (
	maxHead    = 64 << 10
	maxInterim = 16 // answers of 1xx before the final one; they are not passed on
)

var (
	crlf      = []byte("\r\n")
	lastChunk = []byte("0\r\n\r\n")
)

// head is what the head of an answer says of its body and of its connection.
type head struct {
	size   int // of the head itself
	status int
	length int64 // of the body: bytes, header.Chunked or header.UntilClose
	keep   bool  // the connection may be used again
}

func bad(what any) error { return fmt.Errorf("%w: %v", ErrBadResponse, what) }

// readHead returns the head of the final answer and leaves it in the connection's buffer.
func (c *call) readHead() (head, error) {
	for range maxInterim {
		section, err := c.peekHead()
		if err != nil {
			return head{}, err
		}
		h, err := c.parseHead(section)
		if err != nil {
			return head{}, bad(err)
		}
		if h.status >= 200 || h.status == fasthttp.StatusSwitchingProtocols {
			return h, nil
		}
		_, _ = c.up.R.Discard(h.size)
	}
	return head{}, bad("too many interim answers")
}

// peekHead waits for a whole head, and returns it with the empty line that ends it.
func (c *call) peekHead() ([]byte, error) {
	for {
		buffer, _ := c.up.R.Peek(c.up.R.Buffered())
		if end := bytes.Index(buffer, []byte("\r\n\r\n")); end >= 0 {
			return buffer[:end+4], nil
		}
		if !bytes.HasPrefix([]byte("HTTP/1."), buffer[:min(len(buffer), 7)]) ||
			bytes.Count(buffer, crlf[1:]) != bytes.Count(buffer, crlf) || len(buffer) >= maxHead {
			return nil, bad("no head of HTTP/1, or none of acceptable length")
		}
		if len(buffer) == c.up.R.Size() {
			c.up.R = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(bytes.Clone(buffer)), c.up), maxHead)
		}
		_, err := c.up.R.Peek(len(buffer) + 1)
		if c.upload != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			if by := c.upload.answerBy(); time.Now().Before(by) {
				err = c.up.Wait(by)
			}
		}
		if err != nil {
			return nil, err
		}
	}
}

// parseHead reads a head so strictly that no two readers could frame the answer differently.
func (c *call) parseHead(section []byte) (h head, err error) {
	first, rest, _ := bytes.Cut(section, crlf)
	status, http11, err := header.ParseStatus(first)
	if err != nil {
		return h, err
	}
	if c.lines, err = header.Parse(c.lines[:0], rest); err != nil {
		return h, err
	}
	length, err := c.lines.BodyLength(http11)
	if c.isHead || status < 200 || status == fasthttp.StatusNoContent || status == fasthttp.StatusNotModified {
		length = 0
	}
	keep := http11 && length != header.UntilClose && !c.lines.Named([]byte("close"))
	return head{size: len(section), status: status, length: length, keep: keep}, err
}
