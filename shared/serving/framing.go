package serving

import (
	"bytes"
	"errors"
)

// FramingError says which rule of RFC 9112 the bytes of a connection break, so that nobody can be sure where a request
// ends. It is fit to be shown to the client.
type FramingError string

func (e FramingError) Error() string { return string(e) }

const (
	errLineEnd FramingError = "a line must end in CR LF"
	errFold    FramingError = "a header line must not be continued on the next line"
	errLength  FramingError = "the length of the body must be given once, by Content-Length or by Transfer-Encoding: chunked"
	errChunk   FramingError = "a chunk must be its size, CR LF, as many bytes, CR LF"
	errTrailer FramingError = "a trailer must be a name, a colon, a value and CR LF"
	errExtra   FramingError = "there is too much besides the chunks of a body"
)

// BrokenRule returns the FramingError that made a request unreadable, if one did.
func BrokenRule(err error) (FramingError, bool) { return errors.AsType[FramingError](err) }

// phase is the part of a request that the next byte belongs to.
type phase uint8

const (
	between phase = iota // two requests, or in a request's first line
	inFields
	inBody // of a known length, or in the data of a chunk
	inChunk
	inChunkLines // this phase and all after it are judged byte by byte: see chunks.go
)

// framing follows the requests of one connection as their bytes pass, so that fasthttp is given only what no two readers
// take for different requests. fasthttp takes bare LF for CR LF, unfolds lines, prefers Transfer-Encoding to a
// Content-Length beside it, and reads past whatever stands behind a chunk's size.
//
// It finds the same ends of requests as fasthttp does, as long as fasthttp goes on reading them: all lines end in CR LF,
// so both see the same lines; none is folded, so each field is one line; at most one of them gives a length, in a way
// that has one reading; and the grammar of chunks here allows a part of what fasthttp does. What fasthttp refuses, or the
// handler before it has read the body, need not be followed any more, since the connection is closed.
// FuzzFramingAgreesWithTheServer holds both to it.
type framing struct {
	phase          phase
	sized, chunked bool // what the head has said so far
	strayLF        bool // stands before the request
	cut            cutLine

	left   int64 // of the body, or of a chunk
	chunks chunks
}

// judge returns how many bytes of piece may be passed on: all, or with an error those up to and with the one that breaks
// a rule. That one never ends a head, but lets fasthttp know that a request has begun, and is to be answered.
func (f *framing) judge(piece []byte) (int, error) {
	for at := 0; at < len(piece); {
		rest := piece[at:]
		var n int
		var err error
		switch f.phase {
		case between, inFields:
			n, err = f.head(rest)
		case inBody, inChunk:
			n = int(min(f.left, int64(len(rest))))
			f.pass(n)
		default:
			n, err = 1, f.besides(rest[0])
		}
		if at += n; err != nil {
			return at, err
		}
	}
	return len(piece), nil
}

// pass counts bytes of a body.
func (f *framing) pass(n int) {
	if f.left -= int64(n); f.left > 0 {
		return
	}
	if f.phase == inBody {
		f.phase = between
	} else {
		f.phase = dataCR
	}
}

// head judges the next line of a head, or as much of it as has come.
func (f *framing) head(rest []byte) (int, error) {
	n := bytes.IndexByte(rest, '\n') + 1
	if n == 0 {
		f.cut.keep(rest)
		return len(rest), nil
	}
	before := f.cut.last
	if n > 1 {
		before = rest[n-2]
	}
	switch {
	case before == '\r':
	case f.phase == between && n == 1 && f.cut.kept == 0:
		f.strayLF = true // without more behind it, fasthttp takes it for the end of the connection
		return n, nil
	default:
		return n, errLineEnd
	}
	if f.cut.kept == 0 {
		return n, f.line(rest[:n-2])
	}
	f.cut.keep(rest[:n])
	err := f.line(bytes.TrimSuffix(f.cut.text[:f.cut.kept], []byte("\r\n")))
	f.cut = cutLine{}
	return n, err
}

// line judges a line without its end. What else is wrong with it, fasthttp sees as well.
func (f *framing) line(line []byte) error {
	switch {
	case f.phase == between && len(line) == 0: // allowed before a request
	case f.phase == between && f.strayLF:
		return errLineEnd
	case f.phase == between:
		f.phase = inFields
	case len(line) == 0:
		f.endHead()
	case line[0] == ' ' || line[0] == '\t':
		return errFold
	case isField(line, "content-length"):
		return f.contentLength(bytes.Trim(line[len("content-length:"):], " \t"))
	case isField(line, "transfer-encoding"):
		return f.transferEncoding(bytes.Trim(line[len("transfer-encoding:"):], " \t"))
	}
	return nil
}

func (f *framing) endHead() {
	switch {
	case f.chunked:
		f.phase, f.chunks = sizeFirst, chunks{}
	case f.left > 0:
		f.phase = inBody
	default:
		f.phase = between
	}
	f.sized, f.chunked = false, false
}

func (f *framing) contentLength(digits []byte) error {
	const most = 18 // as many always fit into an int64
	if f.sized || len(digits) < 1 || len(digits) > most {
		return errLength
	}
	f.left = 0
	for _, c := range digits {
		if c < '0' || c > '9' {
			return errLength
		}
		f.left = f.left*10 + int64(c-'0')
	}
	f.sized = true
	return nil
}

func (f *framing) transferEncoding(value []byte) error {
	if f.sized || !isFold(value, "chunked") {
		return errLength
	}
	f.sized, f.chunked = true, true
	return nil
}

// isField says whether a line is the field of that name, which is given in lower case.
func isField(line []byte, name string) bool {
	return len(line) > len(name) && line[len(name)] == ':' && isFold(line[:len(name)], name)
}

// isFold compares ASCII letters, of which lower has only small ones, without regard to their case.
func isFold(text []byte, lower string) bool {
	if len(text) != len(lower) {
		return false
	}
	for i, c := range text {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// cutLine is what is known of a line that comes in several pieces. Of white space in a row it keeps one byte, and so it
// has room for every field that gives a length in an allowed way, 37 bytes at most: what does not fit in is not allowed, or
// no such field.
type cutLine struct {
	text [40]byte
	kept int
	last byte // of what has come
}

func (l *cutLine) keep(piece []byte) {
	for _, c := range piece {
		blank := c == ' ' || c == '\t'
		if l.kept == len(l.text) || blank && l.kept > 0 && l.text[l.kept-1] == ' ' {
			continue
		}
		if blank {
			c = ' '
		}
		l.text[l.kept] = c
		l.kept++
	}
	l.last = piece[len(piece)-1]
}
