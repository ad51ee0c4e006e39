package identity

import (
	"bytes"
	"net/netip"

	"keygate/proxy/header"
)

// MaxTrustedHops is more proxies in a row than anybody has.
const MaxTrustedHops = 8

// Origin is where a request comes from, as the upstream is told by X-Forwarded-For, -Host and -Proto and by X-Real-IP.
//
// Every proxy on the way appends to X-Forwarded-For whom it was called by; what stands before that is the client's own
// claim. So of all lines of that name together, the last Policy.TrustedHops entries are believed and the rest is dropped,
// and the peer, the other end of our connection, is appended:
//
//	hops  peer      received                        client       sent
//	0     10.0.0.9  -                               10.0.0.9     10.0.0.9
//	0     10.0.0.9  203.0.113.7                     10.0.0.9     10.0.0.9
//	1     10.0.0.9  203.0.113.7                     203.0.113.7  203.0.113.7, 10.0.0.9
//	1     10.0.0.9  6.6.6.6, 203.0.113.7            203.0.113.7  203.0.113.7, 10.0.0.9
//	2     10.0.0.9  6.6.6.6, 203.0.113.7, 10.0.0.5  203.0.113.7  203.0.113.7, 10.0.0.5, 10.0.0.9
//	2     10.0.0.9  203.0.113.7                     10.0.0.9     10.0.0.9
//	1     10.0.0.9  unknown                         10.0.0.9     10.0.0.9
//	1     (unix)    203.0.113.7                     203.0.113.7  203.0.113.7
//	0     (unix)    203.0.113.7                     -            -
//
// A list in which one of these entries is missing or no address did not come the way that the operator described: it is
// treated as if no hop were trusted. If it did come that way, one X-Forwarded-Proto and one X-Forwarded-Host with a sane
// value are kept, else ours are sent, and other X-Forwarded- lines pass. The rest is dropped in any spelling, and so
// is Forwarded, always.
type Origin struct {
	chain    [MaxTrustedHops + 1]netip.Addr // from the client to the peer
	length   int                            // of chain
	believed bool                           // the request came the way that the operator described
	proto    string
	host     []byte // nil if there is none
}

// Client is the address that the request comes from, zero where nobody knows it: on a Unix socket without trusted hops.
func (o *Origin) Client() netip.Addr { return o.chain[0] }

// Origin fills in where a request comes from. Peer is zero on a Unix socket. Origin aliases lines.
func (p *Policy) Origin(o *Origin, lines header.Lines, peer netip.Addr) {
	*o = Origin{proto: "http"}
	if p.HTTPS {
		o.proto = "https"
	}
	if o.believed = p.TrustedHops > 0 && lastEntries(o.chain[:p.TrustedHops], lines); o.believed {
		o.length = p.TrustedHops
	}
	if o.chain[o.length] = peer; peer.IsValid() {
		o.length++
	}
	if host, err := lines.One(header.Host); err == nil && host != nil {
		o.host = host.Value
	}
	if !o.believed {
		return
	}
	if proto, err := lines.One(header.ForwardedProto); err == nil && proto != nil {
		o.believeProto(proto.Value)
	}
	if host, err := lines.One(header.ForwardedHost); err == nil && host != nil && header.IsHost(host.Value) {
		o.host = host.Value
	}
}

// lastEntries fills dst with the last entries of X-Forwarded-For, and says whether there are as many and all addresses.
func lastEntries(dst []netip.Addr, lines header.Lines) bool {
	missing := len(dst)
	for i := len(lines) - 1; i >= 0 && missing > 0; i-- {
		if lines[i].Kind != header.ForwardedFor {
			continue
		}
		for list, more := lines[i].Value, true; more && missing > 0; missing-- {
			entry := list
			comma := bytes.LastIndexByte(list, ',')
			if more = comma >= 0; more {
				list, entry = list[:comma], list[comma+1:]
			}
			addr, ok := parseEntry(bytes.Trim(entry, " \t"))
			if !ok {
				return false
			}
			dst[missing-1] = addr
		}
	}
	return missing == 0
}

// maxEntry is more than the longest address takes with its port.
const maxEntry = 64

// parseEntry reads an address, which some gateways write with a port.
func parseEntry(text []byte) (netip.Addr, bool) {
	if len(text) > maxEntry {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(string(text))
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(string(text))
		addr = withPort.Addr()
	}
	return addr.Unmap(), err == nil && addr.Zone() == ""
}

func (o *Origin) believeProto(value []byte) {
	for _, known := range [...]string{"http", "https", "ws", "wss"} {
		if header.EqualFold(value, known) {
			o.proto = known
		}
	}
}

// conceals says whether a line that is of no kind must not reach the upstream because it tells, in whatever spelling, of an
// origin that is not believed.
func (o *Origin) conceals(name, folded []byte) bool {
	if string(folded) == "forwarded" || string(folded) == "x-real-ip" {
		return true
	}
	return bytes.HasPrefix(folded, []byte("x-forwarded-")) && (!o.believed || !bytes.EqualFold(name, folded))
}

func (o *Origin) append(dst []byte) []byte {
	for i, addr := range o.chain[:o.length] {
		if i == 0 {
			dst = append(dst, "X-Real-IP: "...)
			dst = append(addr.AppendTo(dst), "\r\nX-Forwarded-For: "...)
		} else {
			dst = append(dst, ", "...)
		}
		dst = addr.AppendTo(dst)
	}
	if o.length > 0 {
		dst = append(dst, "\r\n"...)
	}
	dst = append(append(dst, "X-Forwarded-Proto: "...), o.proto...)
	dst = append(dst, "\r\n"...)
	if o.host != nil {
		dst = append(append(dst, "X-Forwarded-Host: "...), o.host...)
		dst = append(dst, "\r\n"...)
	}
	return dst
}
