package server

import (
	"time"

	"github.com/valyala/fasthttp"

	"keygate/shared/problem"
	"keygate/shared/trust"
	"keygate/shared/uuid7"
)

// caller is what the proxy vouches for.
type caller struct {
	org string
	id  uuid7.ID
}

const (
	idHeader        = "X-Keygate-Id"
	signatureHeader = "X-Org-Signature"
	maxOrgID        = 128
)

// verify believes the identity headers if they are signed, or if there is no secret to sign with: then whoever can
// connect is believed. A request's id must be about as old as the request, because it names what is stored: an id used
// again much later would meet events that may have been pruned.
func (s *Server) verify(ctx *fasthttp.RequestCtx, arrived time.Time) (caller, *problem.Problem) {
	head := &ctx.Request.Header
	org, oneOrg := only(head, s.OrgHeader)
	text, oneID := only(head, idHeader)
	if !oneOrg || !oneID || !validOrg(org) {
		return caller{}, untrusted("Events are accepted from the proxy, which says whose they are: send them there.")
	}
	if s.Secrets.Held() {
		signature, oneSignature := only(head, signatureHeader)
		claim := trust.Claim{Org: org, ID: text, Method: head.Method(), Target: head.RequestURI()}
		if !oneSignature || s.Secrets.Verify(signature, claim, arrived) != nil {
			return caller{}, untrusted("The signature is missing or wrong: " +
				"proxy and writer need the same trust secret, and clocks that agree.")
		}
	}
	id, err := uuid7.Parse(text)
	if err != nil || id != id.Item(0) {
		return caller{}, untrusted(idHeader + " is not an id that the proxy mints.")
	}
	if age := arrived.Sub(id.Time()); age > trust.MaxSkew || age < -trust.MaxSkew {
		return caller{}, untrusted(idHeader + " is too far from the writer's clock: set the clocks of proxy and writer right.")
	}
	return caller{org: string(org), id: id}, nil
}

// only returns the value of a header that stands just once. PeekAll's list is its own until the next call.
func only(head *fasthttp.RequestHeader, name string) ([]byte, bool) {
	values := head.PeekAll(name)
	if len(values) != 1 {
		return nil, false
	}
	return values[0], true
}

func untrusted(detail string) *problem.Problem {
	return &problem.Problem{Code: problem.UntrustedCaller, Detail: detail}
}

func validOrg(org []byte) bool {
	for _, c := range org {
		switch {
		case '0' <= c && c <= '9', 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', c == '.', c == '_', c == ':', c == '-':
		default:
			return false
		}
	}
	return len(org) >= 1 && len(org) <= maxOrgID
}
