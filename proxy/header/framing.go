package header

import "bytes"

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

// CheckFraming refuses sections that two readers could frame differently, or send to different hosts.
func (l Lines) CheckFraming(http11 bool) error {
	host, err := l.One(Host)
	if err != nil || host == nil && http11 || host != nil && !IsHost(host.Value) {
		return ErrHost
	}
	length, err := l.One(ContentLength)
	if err != nil {
		return ErrFraming
	}
	encoding, err := l.One(TransferEncoding)
	if err != nil || length != nil && encoding != nil {
		return ErrFraming
	}
	if length != nil && !allDigits(length.Value) {
		return ErrFraming
	}
	if encoding != nil && (!http11 || !EqualFold(encoding.Value, "chunked")) {
		return ErrFraming
	}
	return nil
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

// allDigits also bounds the number to what an int64 holds.
func allDigits(text []byte) bool {
	for _, c := range text {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(text) >= 1 && len(text) <= 18
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
