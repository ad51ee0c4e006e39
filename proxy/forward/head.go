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

// Head is what the head of an answer says of its body and of its connection.
type Head struct {
	Size   int // of the head itself
	Status int
	Length int64 // of the body: bytes, header.Chunked or header.UntilClose
	Keep   bool  // the connection may be used again
}

func bad(what any) error { return fmt.Errorf("%w: %v", ErrBadResponse, what) }

// readHead returns the head of the final answer and leaves it in the connection's buffer.
func (c *call) readHead() (Head, error) {
	for range maxInterim {
		section, err := c.peekHead()
		if err != nil {
			return Head{}, err
		}
		var h Head
		if h, c.lines, err = ParseHead(section, c.isHead, c.lines[:0]); err != nil {
			return Head{}, bad(err)
		}
		if h.Status >= 200 || h.Status == fasthttp.StatusSwitchingProtocols {
			return h, nil
		}
		_, _ = c.up.R.Discard(h.Size)
	}
	return Head{}, bad("too many interim answers")
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

// ParseHead reads the head of an answer, from its first line to the empty one, and appends its lines to lines. It is so
// strict that no two readers could frame the answer differently.
func ParseHead(section []byte, toHead bool, lines header.Lines) (Head, header.Lines, error) {
	first, rest, _ := bytes.Cut(section, crlf)
	status, http11, err := header.ParseStatus(first)
	if err == nil {
		lines, err = header.Parse(lines, rest)
	}
	if err != nil {
		return Head{}, lines, err
	}
	length, err := lines.BodyLength(http11)
	if toHead || status < 200 || status == fasthttp.StatusNoContent || status == fasthttp.StatusNotModified {
		length = 0
	}
	keep := http11 && length != header.UntilClose && !lines.Named([]byte("close"))
	return Head{Size: len(section), Status: status, Length: length, Keep: keep}, lines, err
}

// Passes says whether a line of an answer is for the client: it is not about the upstream's connection or framing by chunks.
func Passes(line *header.Line, lines header.Lines, connection bool) bool {
	switch line.Kind {
	case header.TransferEncoding, header.Connection, header.HopByHop, header.Upgrade:
		return false
	case header.Other:
		return !connection || !lines.Named(line.Name)
	}
	return true
}
