package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// message is one request or answer as RFC 9112 reads it, with nothing forgiven.
type message struct {
	method, target, version string // of a request
	status                  int    // of an answer
	fields                  []field
	body                    string
	length                  int // what the framing says: bytes, inChunks or untilClose
	head                    int // bytes on the wire of the first line and the fields
	size                    int // bytes on the wire
	extensions              bool
	trailers                []field
}

type field struct{ name, value string }

const inChunks, untilClose = -1, -2

var (
	errIncomplete = errors.New("incomplete")
	errInvalid    = errors.New("invalid")
)

func invalid(why string, about ...any) error {
	return fmt.Errorf("%w: "+why, append([]any{errInvalid}, about...)...)
}

// values returns the values of a field, whose name is given in lower case.
func (m *message) values(name string) []string {
	var found []string
	for _, f := range m.fields {
		if strings.ToLower(f.name) == name {
			found = append(found, f.value)
		}
	}
	return found
}

// tokens returns the elements of a field that is a list, in lower case.
func (m *message) tokens(name string) []string {
	var found []string
	for _, value := range m.values(name) {
		for element := range strings.SplitSeq(strings.ToLower(value), ",") {
			found = append(found, strings.Trim(element, " \t"))
		}
	}
	return found
}

// closes says whether the connection ends with this message.
func (m *message) closes() bool {
	options := m.tokens("connection")
	return slices.Contains(options, "close") || m.version == "HTTP/1.0" && !slices.Contains(options, "keep-alive")
}

// readRequest reads the request at the beginning of b. Errors are errIncomplete or wrap errInvalid.
func readRequest(b []byte) (m message, err error) {
	start := 0
	for bytes.HasPrefix(b[start:], []byte("\r\n")) { // RFC 9112, 2.2: empty lines before a request are ignored
		start += 2
	}
	line, at, err := readLine(b, start)
	if err != nil {
		if i := bytes.IndexByte(b[start:], '\n'); i < 0 && len(b)-start > 64<<10 {
			return m, invalid("an endless line")
		}
		return m, err
	}
	parts := strings.Split(line, " ")
	if len(parts) != 3 || !isToken(parts[0]) || parts[1] == "" {
		return m, invalid("request line")
	}
	m.method, m.target, m.version = parts[0], parts[1], parts[2]
	if m.version != "HTTP/1.1" && m.version != "HTTP/1.0" {
		return m, invalid("version")
	}
	if i := strings.IndexFunc(m.target, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' }); i >= 0 {
		return m, invalid("target")
	}
	if m.fields, at, err = readFields(b, at); err != nil {
		return m, err
	}
	m.head = at
	hosts := m.values("host")
	if len(hosts) > 1 || len(hosts) == 0 && m.version == "HTTP/1.1" || len(hosts) == 1 && !isHost(hosts[0]) {
		return m, invalid("Host")
	}
	if err := m.frame(0); err != nil {
		return m, err
	}
	return m, m.readBody(b, at, false)
}

// readResponse reads the answer at the beginning of b to a request of that method. ended says that no more will come.
func readResponse(b []byte, method string, ended bool) (m message, err error) {
	line, at, err := readLine(b, 0)
	if err != nil {
		return m, err
	}
	if len(line) < 12 || line[:8] != "HTTP/1.1" && line[:8] != "HTTP/1.0" || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return m, invalid("status line")
	}
	for _, c := range []byte(line) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return m, invalid("status line")
		}
	}
	m.version = line[:8]
	if m.status, err = strconv.Atoi(line[9:12]); err != nil || m.status < 100 || m.status > 999 || line[9] == '+' {
		return m, invalid("status")
	}
	if m.fields, at, err = readFields(b, at); err != nil {
		return m, err
	}
	m.head = at
	if err := m.frame(untilClose); err != nil {
		return m, err
	}
	if method == "HEAD" || m.status < 200 || m.status == 204 || m.status == 304 {
		m.length = 0
	}
	return m, m.readBody(b, at, ended)
}

func readLine(b []byte, at int) (line string, next int, err error) {
	end := bytes.IndexByte(b[at:], '\n')
	if end < 0 {
		if bare := bytes.IndexByte(b[at:], '\r'); bare >= 0 && at+bare+1 < len(b) {
			return "", at, invalid("bare CR")
		}
		return "", at, errIncomplete
	}
	if end == 0 || b[at+end-1] != '\r' {
		return "", at, invalid("bare LF")
	}
	if line = string(b[at : at+end-1]); strings.Contains(line, "\r") {
		return "", at, invalid("bare CR")
	}
	return line, at + end + 1, nil
}

func readFields(b []byte, at int) (fields []field, next int, err error) {
	for {
		line, next, err := readLine(b, at)
		if err != nil {
			return fields, at, err
		}
		if at = next; line == "" {
			return fields, at, nil
		}
		name, value, found := strings.Cut(line, ":")
		if !found || !isToken(name) {
			return fields, at, invalid("field name %q", name)
		}
		for _, c := range []byte(value) {
			if c < ' ' && c != '\t' || c == 0x7f {
				return fields, at, invalid("control character in %s", name)
			}
		}
		fields = append(fields, field{name, strings.Trim(value, " \t")})
	}
}

// frame sets the length by RFC 9112, 6.3, refusing instead of repairing.
func (m *message) frame(otherwise int) error {
	lengths, codings := m.values("content-length"), m.values("transfer-encoding")
	switch {
	case len(lengths)+len(codings) > 1:
		return invalid("framed twice")
	case len(codings) == 1:
		if !strings.EqualFold(codings[0], "chunked") || m.version != "HTTP/1.1" {
			return invalid("Transfer-Encoding")
		}
		m.length = inChunks
	case len(lengths) == 1:
		if lengths[0] == "" || strings.Trim(lengths[0], "0123456789") != "" || len(lengths[0]) > 18 {
			return invalid("Content-Length")
		}
		m.length, _ = strconv.Atoi(lengths[0])
	default:
		m.length = otherwise
	}
	return nil
}

func (m *message) readBody(b []byte, at int, ended bool) error {
	switch {
	case m.length == inChunks:
		return m.readChunks(b, at)
	case m.length == untilClose:
		m.body, m.size = string(b[at:]), len(b)
		if !ended {
			return errIncomplete
		}
	case len(b)-at < m.length:
		m.body = string(b[at:])
		return errIncomplete
	default:
		m.body, m.size = string(b[at:at+m.length]), at+m.length
	}
	return nil
}

func (m *message) readChunks(b []byte, at int) (err error) {
	var body strings.Builder
	defer func() { m.body = body.String() }()
	for {
		line, next, err := readLine(b, at)
		if err != nil {
			return err
		}
		digits := len(line) - len(strings.TrimLeft(line, "0123456789abcdefABCDEF"))
		size, err := strconv.ParseUint(line[:digits], 16, 60)
		if err != nil || digits > 15 || !isExtension(line[digits:]) {
			return invalid("chunk line %q", line)
		}
		m.extensions = m.extensions || len(line) > digits
		if at = next; size == 0 {
			if m.trailers, at, err = readFields(b, at); err != nil {
				return err
			}
			m.size = at
			return nil
		}
		rest := b[at:]
		if uint64(len(rest)) < size+2 {
			body.Write(rest[:min(size, uint64(len(rest)))])
			if uint64(len(rest)) == size+1 && rest[size] != '\r' {
				return invalid("end of chunk")
			}
			return errIncomplete
		}
		body.Write(rest[:size])
		if string(rest[size:size+2]) != "\r\n" {
			return invalid("end of chunk")
		}
		at += int(size) + 2
	}
}

// isExtension says whether text is what may follow a chunk's size: nothing, or extensions with their semicolon first.
// White space around them is "bad" in RFC 9112 (BWS), and counts as invalid here.
func isExtension(text string) bool {
	for text != "" {
		rest, found := strings.CutPrefix(text, ";")
		name := len(rest) - len(strings.TrimLeftFunc(rest, isTokenRune))
		if !found || name == 0 {
			return false
		}
		if text, found = strings.CutPrefix(rest[name:], "="); !found {
			continue
		}
		if quoted, found := strings.CutPrefix(text, `"`); found {
			end := strings.IndexByte(strings.ReplaceAll(quoted, `\"`, "xx"), '"')
			if end < 0 || strings.ContainsFunc(quoted[:end], func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return false
			}
			text = quoted[end+1:]
			continue
		}
		value := len(text) - len(strings.TrimLeftFunc(text, isTokenRune))
		if value == 0 {
			return false
		}
		text = text[value:]
	}
	return true
}

func isTokenRune(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r < 0x80 && strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

func isToken(text string) bool {
	for _, c := range []byte(text) {
		if !isTokenRune(rune(c)) {
			return false
		}
	}
	return text != ""
}

// isHost is RFC 3986's host and port, by the characters of which they are made.
func isHost(text string) bool {
	for _, c := range []byte(text) {
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', strings.IndexByte("-._~!$&'()*+;=%:[]", c) >= 0:
		default:
			return false
		}
	}
	return text != ""
}

// fold reads a name like the least careful reader: case does not count, and what is neither letter nor digit is a "-".
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' || 'a' <= r && r <= 'z' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
}
