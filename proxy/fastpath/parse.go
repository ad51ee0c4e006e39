package fastpath

import (
	"bytes"
	"slices"

	"github.com/valyala/fasthttp"

	"keygate/proxy/forward"
	"keygate/proxy/header"
)

var headEnd = []byte("\r\n\r\n")

// request is one that the fast path takes. All of it aliases what was read.
type request struct {
	method, target, key, body []byte
	framed                    bool // it has a Content-Length
}

// parse reads what is exactly one request of the plainest kind. Others are not wrong: whoever judges them is elsewhere.
func (l *loop) parse(read []byte) (r request, ok bool) {
	end := bytes.Index(read, headEnd)
	if end < 0 {
		return r, false
	}
	line, section, _ := bytes.Cut(read[:end+len(headEnd)], headEnd[:2])
	var version []byte
	r.method, line, _ = bytes.Cut(line, []byte(" "))
	r.target, version, _ = bytes.Cut(line, []byte(" "))
	if string(version) != "HTTP/1.1" || header.CheckLine(r.target, version) != nil || !isPlainTarget(r.target) {
		return r, false
	}
	var err error
	if l.lines, err = header.Parse(l.lines[:0], section); err != nil || l.lines.CheckHost(true) != nil || l.unusual() {
		return r, false
	}
	r.body = read[end+len(headEnd):]
	length, err := l.lines.BodyLength(true)
	if err != nil || !r.fits(length) {
		return r, false
	}
	cfg := &l.listener.cfg
	if cfg.MaxBody > 0 && length > cfg.MaxBody || cfg.Public(r.target) {
		return r, false
	}
	r.key, err = cfg.Policy.Credential(l.lines)
	return r, err == nil
}

// fits says whether the method goes with a body of that length, and the body is just there.
func (r *request) fits(length int64) bool {
	switch string(r.method) {
	case "GET", "DELETE":
		return length == header.UntilClose && len(r.body) == 0
	case "POST", "PUT", "PATCH":
		r.framed = length >= 0
		return r.framed && length == int64(len(r.body))
	}
	return false
}

// isPlainTarget leaves out what could be read as having a host.
func isPlainTarget(target []byte) bool {
	return len(target) > 0 && target[0] == '/' && !bytes.Contains(target, []byte("//"))
}

// isPlainHost says whether a host is a name or an IPv4 address, perhaps with a port. Of others, the server takes fewer than
// the standard allows.
func isPlainHost(host []byte) bool {
	name, port, _ := bytes.Cut(host, []byte(":"))
	for _, c := range name {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-') {
			return false
		}
	}
	for _, c := range port {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(name) > 0
}

// unusual says whether some line asks for what the fast path does not do (an expectation, an upgrade, a connection that
// ends, a body in chunks), or is judged more strictly elsewhere.
func (l *loop) unusual() bool {
	for i := range l.lines {
		switch line := &l.lines[i]; line.Kind {
		case header.Upgrade, header.TransferEncoding:
			return true
		case header.Connection:
			if !header.EqualFold(line.Value, "keep-alive") {
				return true
			}
		case header.HopByHop:
			if header.EqualFold(line.Name, "expect") || header.EqualFold(line.Name, "trailer") {
				return true
			}
		case header.Host:
			if !isPlainHost(line.Value) {
				return true
			}
		}
	}
	return false
}

// parseAnswer returns an answer as the client is to get it, if all of it has come. A status of 0 says that it is none of
// the plainest kind: of that, the head comes in one piece.
func (l *loop) parseAnswer(got []byte) (text []byte, status int, whole bool) {
	end := bytes.Index(got, headEnd)
	if end < 0 {
		return nil, 0, false
	}
	var h forward.Head
	var err error
	h, l.lines, err = forward.ParseHead(got[:end+len(headEnd)], false, l.lines[:0])
	size := int64(h.Size) + h.Length
	if err != nil || h.Status < 200 || !h.Keep || h.Length < 0 || size > bufferSize || int64(len(got)) > size {
		return nil, 0, false
	}
	first := bytes.IndexByte(got, '\n') + 1
	if first < len("HTTP/1.1 200 O\r\n") || h.Length == 0 && l.promisesBody(h.Status) {
		return nil, 0, false
	}
	if int64(len(got)) < size {
		return nil, h.Status, false
	}
	l.out = append(l.out[:0], got[:first]...)
	connection := l.lines.HasConnection()
	for i := range l.lines {
		if line := &l.lines[i]; forward.Passes(line, l.lines, connection) {
			l.out = append(l.out, line.Raw...)
		}
	}
	l.out = append(append(l.out, "\r\n"...), got[h.Size:]...)
	return l.out, h.Status, true
}

// promisesBody says whether an answer that never has a body gives the length of one, which a client could wait for.
func (l *loop) promisesBody(status int) bool {
	if status != fasthttp.StatusNoContent && status != fasthttp.StatusNotModified {
		return false
	}
	return slices.ContainsFunc(l.lines, func(line header.Line) bool { return line.Kind == header.ContentLength })
}
