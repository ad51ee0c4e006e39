// Package identity decides which header lines of a client reach the upstream, and adds the ones that the proxy vouches
// for. Whatever bytes a client sends, the upstream sees exactly one organisation header: ours.
package identity

import (
	"bytes"
	"time"

	"keygate/proxy/header"
	"keygate/shared/trust"
	"keygate/shared/uuid7"
)

// Names of the headers that the proxy sets. The organisation's own name is configurable.
const (
	DefaultOrgHeader = "X-Org-Id"
	KeyHeader        = "X-Org-Key"
	IDHeader         = "X-Keygate-Id"
	SignatureHeader  = "X-Org-Signature"
	RequestIDHeader  = "X-Request-Id"
)

// Policy is what is stripped and how it is signed. Safe for concurrent use once built.
type Policy struct {
	OrgHeader      string
	Carriers       Carrier
	KeepCredential bool
	Secrets        *trust.Secrets // nil: requests are not signed
	TrustedHops    int            // proxies in front of this one, at most MaxTrustedHops: see Origin
	HTTPS          bool           // this proxy's own listener speaks TLS

	foldedOrg []byte
}

// New completes a policy.
func New(p Policy) *Policy {
	p.foldedOrg = header.Fold(nil, []byte(p.OrgHeader))
	return &p
}

// Vouch is what the proxy says of a request. A nil Org says nothing of who is calling: then only the origin and the request
// id are injected.
type Vouch struct {
	Org       []byte
	KeyPrefix []byte
	ID        uuid7.ID
	Method    []byte
	Target    []byte // path and query as sent to the upstream
	RequestID []byte // injected when the client sent none worth keeping; else nil
	Now       time.Time
	Origin    *Origin
}

// AppendHeader appends the header lines that the upstream is to see, each with its CR LF: the client's in their order
// without hop-by-hop, framing and identity lines, and then ours. Framing is left to whoever writes the body.
func (p *Policy) AppendHeader(dst []byte, lines header.Lines, v *Vouch) []byte {
	connection := lines.HasConnection()
	hasHost := false
	for i := range lines {
		line := &lines[i]
		hasHost = hasHost || line.Kind == header.Host
		if p.keeps(line, v) && !(connection && line.Kind != header.Host && lines.Named(line.Name)) {
			dst = append(dst, line.Raw...)
		}
	}
	if !hasHost { // the client spoke HTTP/1.0, and the upstream will be spoken to in HTTP/1.1
		dst = append(dst, "Host: localhost\r\n"...)
	}
	return p.appendVouched(dst, v)
}

func (p *Policy) keeps(line *header.Line, v *Vouch) bool {
	switch line.Kind {
	case header.Host:
		return true
	case header.ContentLength, header.TransferEncoding, header.Connection, header.HopByHop, header.Upgrade,
		header.ForwardedFor, header.ForwardedHost, header.ForwardedProto:
		return false
	case header.RequestID:
		return v.RequestID == nil
	}
	if len(line.Name) > maxFolded {
		folded := header.Fold(nil, line.Name)
		return !p.reserved(folded) && !v.Origin.conceals(line.Name, folded)
	}
	var space [maxFolded]byte
	folded := header.Fold(space[:0], line.Name)
	return !p.reserved(folded) && !p.isCredential(line, folded) && !isFraming(folded) && !v.Origin.conceals(line.Name, folded)
}

// isFraming says whether a folded name is one by which the least careful reader would find another end of the body.
func isFraming(folded []byte) bool {
	return string(folded) == "content-length" || string(folded) == "transfer-encoding"
}

// maxFolded bounds the names that are folded on the stack.
const maxFolded = 64

// reserved says whether a folded name is one that only the proxy may set.
func (p *Policy) reserved(folded []byte) bool {
	return bytes.HasPrefix(folded, []byte("x-org-")) || bytes.HasPrefix(folded, []byte("x-keygate-")) ||
		bytes.Equal(folded, p.foldedOrg)
}

func (p *Policy) appendVouched(dst []byte, v *Vouch) []byte {
	dst = v.Origin.append(dst)
	if v.RequestID != nil {
		dst = appendLine(dst, RequestIDHeader, v.RequestID)
	}
	if v.Org == nil {
		return dst
	}
	dst = appendLine(dst, p.OrgHeader, v.Org)
	dst = appendLine(dst, KeyHeader, v.KeyPrefix)
	dst = append(dst, IDHeader+": "...)
	at := len(dst)
	dst, _ = v.ID.AppendText(dst)
	id := dst[at:]
	dst = append(dst, "\r\n"...)
	if !p.Secrets.Held() {
		return dst
	}
	claim := trust.Claim{Org: v.Org, ID: id, Method: v.Method, Target: v.Target}
	dst = append(dst, SignatureHeader+": "...)
	dst = p.Secrets.AppendSignature(dst, claim, v.Now)
	return append(dst, "\r\n"...)
}

func appendLine(dst []byte, name string, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}
