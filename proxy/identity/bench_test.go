package identity_test

import (
	"net/netip"
	"testing"

	"keygate/proxy/header"
	"keygate/proxy/identity"
	"keygate/shared/trust"
)

const usualHeader = "Host: 127.0.0.1:8080\r\nX-API-Key: zap_live_000000000001_secret\r\n" +
	"Content-Type: application/json\r\nContent-Length: 150\r\n"

// appendUsual strips, injects and signs what the load generator sends.
func appendUsual(p *identity.Policy, buf []byte, lines header.Lines, v *identity.Vouch) []byte {
	p.Origin(v.Origin, lines, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	return p.AppendHeader(buf, lines, v)
}

// BenchmarkAppendHeader has beside it what cannot be saved: the lines copied as they are, and the signature.
func BenchmarkAppendHeader(b *testing.B) {
	b.Run("by=identity", func(b *testing.B) {
		p, v, lines := policy(b), vouch(), parse(b, usualHeader)
		v.Origin = &identity.Origin{}
		var buf []byte
		b.ReportAllocs()
		for b.Loop() {
			buf = appendUsual(p, buf[:0], lines, v)
		}
	})
	b.Run("by=copy-and-sign", func(b *testing.B) {
		secrets, err := trust.Parse(secret)
		if err != nil {
			b.Fatal(err)
		}
		v, lines := vouch(), parse(b, usualHeader)
		id := v.ID.String()
		claim := trust.Claim{Org: v.Org, ID: []byte(id), Method: v.Method, Target: v.Target}
		var buf []byte
		b.ReportAllocs()
		for b.Loop() {
			buf = buf[:0]
			for _, line := range lines {
				buf = append(append(append(append(buf, line.Name...), ": "...), line.Value...), "\r\n"...)
			}
			buf = secrets.AppendSignature(buf, claim, v.Now)
		}
	})
}
