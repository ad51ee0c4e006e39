package header

import "bytes"

// The errors of targets and expectations.
const (
	ErrTargetForm  Error = "the target must be a path, or a URL with http or https and the host of the Host header"
	ErrExpectation Error = "the only expectation that can be met is 100-continue"
)

// OriginForm returns the path and query that target asks for. Of a target with scheme and host, which servers have to
// take as well (RFC 9112, 3.2.2), that is what follows them, if the host is the one of the Host line: upstream and routes
// never see two hosts.
func (l Lines) OriginForm(method, target []byte) ([]byte, error) {
	options := string(method) == "OPTIONS"
	if len(target) > 0 && target[0] == '/' || options && string(target) == "*" {
		return target, nil
	}
	scheme, rest, found := bytes.Cut(target, []byte("://"))
	host, err := l.One(Host)
	if !found || err != nil || host == nil || !EqualFold(scheme, "http") && !EqualFold(scheme, "https") {
		return nil, ErrTargetForm
	}
	end := bytes.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	switch path := rest[end:]; {
	case !bytes.EqualFold(rest[:end], host.Value):
		return nil, ErrTargetForm
	case len(path) == 0 && options:
		return []byte("*"), nil
	case len(path) == 0 || path[0] == '?':
		return append([]byte("/"), path...), nil
	default:
		return path, nil
	}
}

// CheckExpect refuses expectations that are not known, as RFC 9110, 10.1.1 allows, instead of leaving a client to wait.
func (l Lines) CheckExpect() error {
	for i := range l {
		value := l[i].Value
		if l[i].Kind == HopByHop && EqualFold(l[i].Name, "expect") && len(value) > 0 && !EqualFold(value, "100-continue") {
			return ErrExpectation
		}
	}
	return nil
}
