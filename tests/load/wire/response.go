package wire

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

const (
	maxHead = 64 << 10
	maxBody = 64 << 20 // far above a batch's answer; a larger one is a mistake, not a measurement
)

var (
	headEnd  = []byte("\r\n\r\n")
	lineEnd  = []byte("\r\n")
	family   = []byte("HTTP/1.")
	protocol = []byte("HTTP/1.1 ")
)

// parse looks at what has been received; done is false while the answer is incomplete.
func (c *Conn) parse() (reply Reply, done bool, err error) {
	end := bytes.Index(c.received, headEnd)
	if end < 0 {
		if len(c.received) > maxHead || !bytes.HasPrefix(c.received, family[:min(len(family), len(c.received))]) {
			return Reply{}, false, ErrBadResponse
		}
		c.grow(len(c.received) + 1)
		return Reply{}, false, nil
	}
	status, length := c.parseHead(c.received[:end+len(lineEnd)])
	if status < 200 || length < 0 {
		reply, err = c.parseByLibrary()
		return reply, err == nil, err
	}
	size := end + len(headEnd) + length
	switch {
	case length > maxBody || len(c.received) > size:
		return Reply{}, false, ErrBadResponse
	case len(c.received) < size:
		c.grow(size)
		return Reply{}, false, nil
	}
	return Reply{Status: status, Body: c.received[end+len(headEnd):]}, true, nil
}

// parseHead understands what nearly every answer is: HTTP/1.1 with a Content-Length. The length is -1, or the status 0,
// for all others.
func (c *Conn) parseHead(head []byte) (status, length int) {
	length = -1
	line, rest, _ := bytes.Cut(head, lineEnd)
	if !bytes.HasPrefix(line, protocol) || len(line) < len(protocol)+3 {
		return 0, -1
	}
	status, _ = strconv.Atoi(string(line[len(protocol) : len(protocol)+3]))
	if status == http.StatusNoContent || status == http.StatusNotModified {
		return 0, -1
	}
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, lineEnd)
		switch { // the length of the names first: most lines need no more
		case len(line) > 14 && line[14] == ':' && bytes.EqualFold(line[:14], []byte("content-length")):
			if n, err := strconv.Atoi(string(bytes.TrimSpace(line[15:]))); err == nil && n >= 0 {
				length = n
			}
		case len(line) > 10 && line[10] == ':' && bytes.EqualFold(line[:10], []byte("connection")):
			c.closing = c.closing || bytes.EqualFold(bytes.TrimSpace(line[11:]), []byte("close"))
		case len(line) > 17 && line[17] == ':' && bytes.EqualFold(line[:17], []byte("transfer-encoding")):
			return 0, -1
		}
	}
	return status, length
}

// parseByLibrary reads the rare answer (chunked, without a length, interim) with net/http, blocking.
func (c *Conn) parseByLibrary() (Reply, error) {
	reader := bufio.NewReader(io.MultiReader(bytes.NewReader(bytes.Clone(c.received)), c.tcp))
	for {
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			return Reply{}, fmt.Errorf("%w: %w", ErrBadResponse, err)
		}
		if response.StatusCode < 200 && response.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		c.closing = c.closing || response.Close
		body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
		if err != nil {
			return Reply{}, fmt.Errorf("reading the body: %w", err)
		}
		if len(body) > maxBody {
			return Reply{}, ErrBadResponse
		}
		return Reply{Status: response.StatusCode, Body: body}, response.Body.Close()
	}
}

// grow makes room for an answer of size bytes.
func (c *Conn) grow(size int) {
	if size > cap(c.received) {
		c.received = append(make([]byte, 0, max(size, 2*cap(c.received))), c.received...)
	}
}
