package forward

import (
	"bytes"
	"io"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/proxy/header"
)

// A frame holds a piece of a body, with room around it for the framing of a chunk, so that it leaves in one write.
const (
	frameHead = len("8000\r\n")
	frameSize = frameHead + 32<<10 + len("\r\n")
)

var frames = sync.Pool{New: func() any { return new([frameSize]byte) }}

// pipe copies what src reads to dst, each piece as soon as it has come.
type pipe struct {
	src          io.Reader
	dst          io.Writer
	reads, write func(deadline time.Time) error // each piece may take idle to come and to go
	idle         time.Duration
	chunked      bool // makes each piece a chunk; the last chunk is the caller's to write
}

// run ends with the error of src, which is io.EOF at its end, or with dst's.
func (p *pipe) run(frame []byte) (end, broken error) {
	room := frame[frameHead : len(frame)-len(crlf)]
	for end == nil && broken == nil {
		var n int
		_ = p.reads(time.Now().Add(p.idle))
		if n, end = p.src.Read(room); n > 0 {
			_ = p.write(time.Now().Add(p.idle))
			_, broken = p.dst.Write(p.seal(frame, n))
		}
	}
	return end, broken
}

func (p *pipe) seal(frame []byte, n int) []byte {
	from, to := frameHead, frameHead+n
	if p.chunked {
		to += copy(frame[to:], crlf)
		from -= copy(frame[from-len(crlf):], crlf)
		for rest := n; rest > 0; rest >>= 4 {
			from--
			frame[from] = "0123456789abcdef"[rest&15]
		}
	}
	return frame[from:to]
}

// stream is the body of an answer that is passed on while it comes.
type stream struct {
	c       *call
	src     io.Reader
	length  int64 // as in Head
	read    int64
	keep    bool // the connection may be used again, if the body is read to its end
	chunked bool // towards the client
	whole   bool // it was read to its end
}

var _ fasthttp.BodyWriterTo = (*stream)(nil)

func newStream(c *call, h Head) *stream {
	s := &stream{c: c, src: c.up.R, length: h.Length, keep: h.Keep, chunked: h.Length < 0 && c.http11}
	switch {
	case h.Length == header.Chunked:
		s.src = httputil.NewChunkedReader(c.up.R)
	case h.Length >= 0:
		s.src = io.LimitReader(c.up.R, h.Length)
	}
	return s
}

// Read returns io.EOF only where the framing says that the body ends.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.src.Read(p)
	s.read += int64(n)
	switch {
	case err == io.EOF && s.read < s.length:
		err = io.ErrUnexpectedEOF
	case err == io.EOF && s.length == header.Chunked:
		err = s.dropTrailers()
	}
	s.whole = err == io.EOF
	return n, err
}

func (s *stream) dropTrailers() error {
	for total := 0; total <= maxHead; {
		line, err := s.c.up.R.ReadSlice('\n')
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		if err != nil || !bytes.HasSuffix(line, crlf) {
			return bad("trailers")
		}
		if total += len(line); len(line) == len(crlf) {
			return io.EOF
		}
	}
	return bad("trailers")
}

// SupportsBodyWriteTo makes fasthttp use WriteTo.
func (s *stream) SupportsBodyWriteTo() bool { return true }

// WriteTo writes to the client's connection itself; the head has been flushed before, and nothing else is in the
// server's buffer. fasthttp would copy pieces of 4 KiB, in three writes each, or hold back what is short.
func (s *stream) WriteTo(io.Writer) (int64, error) {
	if s.c.upload != nil {
		s.c.upload.resume()
	}
	frame := frames.Get().(*[frameSize]byte)
	defer frames.Put(frame)
	p := pipe{src: s, dst: s.c.ctx.Conn(), reads: s.c.up.Wait, write: s.c.ctx.SetWriteDeadline,
		idle: s.c.f.cfg.IdleTimeout, chunked: s.chunked}
	end, err := p.run(frame[:])
	if err == nil && end != io.EOF {
		s.c.f.metrics.truncated.Inc()
		err = end
	}
	return s.read, err
}

// Close is called by fasthttp once, whatever became of the answer.
func (s *stream) Close() error {
	s.c.drop(s.keep && s.whole)
	return nil
}
