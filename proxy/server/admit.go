package server

import (
	"bytes"
	"fmt"
	"strings"

	"keygate/proxy/header"
	"keygate/proxy/refusal"
	"keygate/shared/problem"
)

// admit refuses requests that two parsers could read differently, that no upstream should see, or whose body is
// announced as too large. What it refuses as ambiguous closes the connection.
func (s *Server) admit(x *exchange) (problem.Problem, bool) {
	head := &x.ctx.Request.Header
	var err error
	if err = header.CheckLine(x.target, head.Protocol()); err == nil {
		x.lines, err = header.Parse(x.lines[:0], header.Section(head.RawHeaders()))
	}
	if err == nil {
		err = x.lines.CheckFraming(head.IsHTTP11())
	}
	if err != nil {
		x.broken = true
		return refusal.Header(err), false
	}
	x.kept = x.lines.SaneRequestID()
	// Methods are in upper case, but some upstreams do not look at it.
	if method := head.Method(); header.EqualFold(method, "connect") || header.EqualFold(method, "trace") {
		x.broken = true
		return problem.Problem{
			Code: problem.MethodNotAllowed, Detail: "CONNECT and TRACE are not forwarded; every other method is.",
		}, false
	}
	if x.target, err = x.lines.OriginForm(head.Method(), x.target); err != nil {
		x.broken = true
		return refusal.Header(err), false
	}
	if err := x.lines.CheckExpect(); err != nil && head.IsHTTP11() {
		x.broken = true
		return refusal.Header(err), false
	}
	if length := int64(head.ContentLength()); s.MaxBody > 0 && length > s.MaxBody {
		x.broken = true
		return tooLarge(s.MaxBody), false
	}
	return problem.Problem{}, true
}

func tooLarge(limit int64) problem.Problem {
	return problem.Problem{
		Code: problem.BodyTooLarge, Detail: fmt.Sprintf("The body may have at most %d bytes.", limit),
	}
}

// public are the requests that need no key.
type public struct {
	paths     []string
	preflight bool
}

// lets compares raw bytes: a target that an upstream might rewrite into another path is never public.
func (p public) lets(x *exchange) bool {
	return p.preflight && isPreflight(x) || p.names(x.target)
}

func (p public) names(target []byte) bool {
	if len(p.paths) == 0 {
		return false
	}
	path, _, _ := bytes.Cut(target, []byte("?"))
	if rewritable(path) {
		return false
	}
	for _, prefix := range p.paths {
		if strings.HasPrefix(string(path), prefix) {
			return true
		}
	}
	return false
}

func rewritable(path []byte) bool {
	return bytes.Contains(path, []byte("//")) || bytes.Contains(path, []byte("..")) ||
		bytes.IndexByte(path, '%') >= 0 || bytes.IndexByte(path, '\\') >= 0
}

// isPreflight says whether a browser asks what it may ask: such requests never carry credentials.
func isPreflight(x *exchange) bool {
	if !x.ctx.IsOptions() {
		return false
	}
	for i := range x.lines {
		if header.EqualFold(x.lines[i].Name, "access-control-request-method") {
			return true
		}
	}
	return false
}
