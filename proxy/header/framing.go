package header

import (
	"bytes"
	"slices"
)

// Lengths of a body that are no number of bytes.
const (
	Chunked    = -1
	UntilClose = -2
)

// CheckLine refuses request lines whose version promises other rules than ours, and targets that readers cut short or
// decode in different ways.
func CheckLine(target, version []byte) error {
	if string(version) != "HTTP/1.1" && string(version) != "HTTP/1.0" {
		return ErrVersion
	}
	for _, c := range target {
		if c <= ' ' || c >= 0x7f || c == '#' {
			return ErrTarget
		}
	}
	return nil
}

// ParseStatus reads the first line of an answer, without its CR LF.
func ParseStatus(line []byte) (status int, http11 bool, err error) {
	const version, upToCode = len("HTTP/1.1 "), len("HTTP/1.1 200")
	if len(line) < upToCode || len(line) > upToCode && line[upToCode] != ' ' || slices.ContainsFunc(line, isControl) {
		return 0, false, ErrStatus
	}
	http11 = string(line[:version]) == "HTTP/1.1 "
	code, ok := number(line[version:upToCode])
	if !ok || code < 100 || !http11 && string(line[:version]) != "HTTP/1.0 " {
		return 0, false, ErrStatus
	}
	return int(code), http11, nil
}

// CheckFraming refuses sections that two readers could frame differently, or send to different hosts.
func (l Lines) CheckFraming(http11 bool) error {
	if err := l.CheckHost(http11); err != nil {
		return err
	}
	_, err := l.BodyLength(http11)
	return err
}

// CheckHost refuses sections that two readers could send to different hosts.
func (l Lines) CheckHost(http11 bool) error {
	host, err := l.One(Host)
	if err != nil || host == nil && http11 || host != nil && !IsHost(host.Value) {
		return ErrHost
	}
	return nil
}

// BodyLength returns the length of the body after these lines in bytes, Chunked, or UntilClose if they do not tell. It is
// RFC 9112, section 6.3, with nothing forgiven.
func (l Lines) BodyLength(http11 bool) (int64, error) {
	length, errLength := l.One(ContentLength)
	encoding, errEncoding := l.One(TransferEncoding)
	switch {
	case errLength != nil || errEncoding != nil || length != nil && encoding != nil:
		return 0, ErrFraming
	case encoding != nil && http11 && EqualFold(encoding.Value, "chunked"):
		return Chunked, nil
	case encoding == nil && length == nil:
		return UntilClose, nil
	case length != nil:
		if n, ok := number(length.Value); ok {
			return n, nil
		}
	}
	return 0, ErrFraming
}

// IsHost says whether text is made of what a host with an optional port may be made of: neither lists nor userinfo are.
func IsHost(host []byte) bool {
	for _, c := range host {
		switch {
		case '0' <= c && c <= '9', 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z':
		case bytes.IndexByte([]byte("-._~:[]%!$&'()*+;="), c) >= 0:
		default:
			return false
		}
	}
	return len(host) > 0
}

// number reads what is made of digits alone, and no longer than any int64.
func number(text []byte) (n int64, ok bool) {
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, len(text) >= 1 && len(text) <= 18
}

// Named says whether some Connection line lists name.
func (l Lines) Named(name []byte) bool {
	for i := range l {
		if l[i].Kind == Connection && lists(l[i].Value, name) {
			return true
		}
	}
	return false
}

// HasConnection says whether there is any Connection line to be searched by Named.
func (l Lines) HasConnection() bool {
	for i := range l {
		if l[i].Kind == Connection {
			return true
		}
	}
	return false
}

func lists(list, name []byte) bool {
	for len(list) > 0 {
		var element []byte
		element, list, _ = bytes.Cut(list, []byte(","))
		if bytes.EqualFold(bytes.Trim(element, " \t"), name) {
			return true
		}
	}
	return false
}
