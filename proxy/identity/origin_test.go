package identity_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"keygate/proxy/header"
	"keygate/proxy/identity"
)

// trusting is a policy in front of which stand some proxies.
func trusting(tb testing.TB, hops int) *identity.Policy {
	tb.Helper()
	return policy(tb, func(p *identity.Policy) { p.TrustedHops, p.Secrets = hops, nil })
}

func addr(text string) (a netip.Addr) {
	if text != "" {
		a = netip.MustParseAddr(text)
	}
	return a
}

// told is what the upstream sees of the header lines that tell of an origin, a name's values joined by " | ".
type told map[string]string

// tell returns that for a header section from a peer, and who the client is.
func tell(tb testing.TB, p *identity.Policy, section []byte, peer netip.Addr) (told, netip.Addr) {
	tb.Helper()
	v := vouch()
	v.Origin = &identity.Origin{}
	lines := parse(tb, string(section))
	p.Origin(v.Origin, lines, peer)
	got := told{}
	for _, line := range parse(tb, string(p.AppendHeader(nil, lines, v))) {
		name := string(header.Fold(nil, line.Name))
		if !strings.HasPrefix(name, "x-forwarded") && name != "forwarded" && name != "x-real-ip" {
			continue
		}
		if value, again := got[name]; again {
			got[name] = value + " | "
		}
		got[name] += string(line.Value)
	}
	return got, v.Origin.Client()
}

// The table of Origin's documentation, and what else may stand in such a list.
func TestTheListOfAddresses(t *testing.T) {
	f := func(hops int, peer, section, client, sent string) {
		t.Helper()
		got, who := tell(t, trusting(t, hops), []byte("Host: a\r\n"+section), addr(peer))
		if who != addr(client) || got["x-forwarded-for"] != sent || got["x-real-ip"] != client {
			t.Errorf("%d hops, from %s: %q: got %v and %q; want %s and %q", hops, peer, section, who, got, client, sent)
		}
	}
	const peer, client, hop = "10.0.0.9", "203.0.113.7", "10.0.0.5"
	list := func(entries ...string) string { return "X-Forwarded-For: " + strings.Join(entries, ", ") + "\r\n" }
	f(0, peer, "", peer, peer)
	f(0, peer, list(client), peer, peer)
	f(0, peer, list(client)+"x_forwarded_for: 6.6.6.6\r\n", peer, peer)
	f(0, "", list(client), "", "")
	f(1, peer, list(client), client, "203.0.113.7, 10.0.0.9")
	f(1, peer, list("6.6.6.6", client), client, "203.0.113.7, 10.0.0.9")
	f(1, peer, list("6.6.6.6", "evil", "", client), client, "203.0.113.7, 10.0.0.9")
	f(2, peer, list("6.6.6.6", client, hop), client, "203.0.113.7, 10.0.0.5, 10.0.0.9")
	f(1, "", list("6.6.6.6", client), client, client)
	f(2, "", list("6.6.6.6", client, hop), client, "203.0.113.7, 10.0.0.5")
	f(1, peer, list("6.6.6.6")+"Accept: */*\r\n"+list(client), client, "203.0.113.7, 10.0.0.9")
	f(2, peer, list(client)+list(hop), client, "203.0.113.7, 10.0.0.5, 10.0.0.9")
	f(2, peer, "x-forwarded-FOR:\t203.0.113.7 \t,10.0.0.5\r\n", client, "203.0.113.7, 10.0.0.5, 10.0.0.9")
	f(1, peer, list(client)+"Connection: X-Forwarded-For\r\n", client, "203.0.113.7, 10.0.0.9")
	f(identity.MaxTrustedHops, peer, list("6.6.6.6", client, hop, hop, hop, hop, hop, hop, hop), client,
		client+strings.Repeat(", "+hop, 7)+", "+peer)
	// What does not come the way that was described.
	f(1, peer, "", peer, peer)
	f(2, peer, list(client), peer, peer)
	f(1, peer, "X_Forwarded_For: 203.0.113.7\r\n", peer, peer)
	f(1, "", "", "", "")
	f(2, "", list(client, ""), "", "")
	for _, entry := range []string{"", "unknown", "_hidden", "localhost", "203.0.113", "203.0.113.07", "203.0.113.7/32", "0x7f.1", "[2001:db8::1]",
		"fe80::1%eth0", "::ffff:203.0.113.7%a", "for=203.0.113.7", "203.0.113.7 203.0.113.8", "203.0.113.7:", "203.0.113.7:x", strings.Repeat("1", 65)} {
		f(1, peer, list(client, entry), peer, peer)
		f(2, peer, list(client, entry), peer, peer)
		f(2, peer, list(entry, client), peer, peer)
	}
	// Addresses as they may be written, and as we write them.
	f(1, "2001:db8::9", list("2001:DB8:0:0::1"), "2001:db8::1", "2001:db8::1, 2001:db8::9")
	f(1, peer, list("::ffff:203.0.113.7"), client, "203.0.113.7, 10.0.0.9")
	f(1, peer, list("203.0.113.7:4711"), client, "203.0.113.7, 10.0.0.9")
	f(1, peer, list("[2001:db8::1]:4711"), "2001:db8::1", "2001:db8::1, 10.0.0.9")
}

func TestSchemeAndHost(t *testing.T) {
	f := func(hops int, section, proto, host string, others ...string) {
		t.Helper()
		p := trusting(t, hops)
		got, _ := tell(t, p, []byte("Host: a:8080\r\n"+section), addr("10.0.0.9"))
		for _, name := range others {
			if _, ok := got[name]; !ok {
				t.Errorf("%d hops: %q: %s is gone", hops, section, name)
			}
			others = append(others, got[name])
			delete(got, name)
		}
		if strings.Contains(fmt.Sprint(others, got), "evil") {
			t.Errorf("%d hops: %q: got %q", hops, section, got)
		}
		if got["x-forwarded-proto"] != proto || got["x-forwarded-host"] != host || len(got) != 4 {
			t.Errorf("%d hops: %q: got %q", hops, section, got)
		}
	}
	const list, https, other = "X-Forwarded-For: 203.0.113.7\r\n", "X-Forwarded-Proto: https\r\n", "X-Forwarded-Host: api.example.com\r\n"
	f(0, "", "http", "a:8080")
	f(0, list+https+other+"X-Forwarded-Port: 1\r\nX-Forwarded-User: evil\r\n", "http", "a:8080")
	f(1, list, "http", "a:8080")
	f(1, list+https+other, "https", "api.example.com")
	f(1, list+"X-Forwarded-Proto: WSS\r\n", "wss", "a:8080")
	for _, value := range []string{"", "https,http", "ftp", "https evil"} {
		f(1, list+"X-Forwarded-Proto: "+value+"\r\n", "http", "a:8080")
	}
	for _, value := range []string{"", "a, b", "u@b", "b/c", "b c", "b\x80"} {
		f(1, list+"X-Forwarded-Host: "+value+"\r\n", "http", "a:8080")
	}
	f(1, list+https+https+other+other, "http", "a:8080")
	f(1, list+"X_Forwarded_Proto: https\r\nX.Forwarded.Host: evil\r\n", "http", "a:8080")
	f(1, list+"X-Forwarded-Port: 443\r\nx-forwarded-user: u\r\nX_Forwarded_User: evil\r\nForwarded: for=evil\r\nX-Real-IP: evil\r\n",
		"http", "a:8080", "x-forwarded-port", "x-forwarded-user")
	// Without the list, nothing came from a proxy that could be believed.
	f(1, https+other+"X-Forwarded-Port: 443\r\n", "http", "a:8080")
}

func TestOurOwnSchemeIsTold(t *testing.T) {
	p := policy(t, func(p *identity.Policy) { p.HTTPS = true })
	if got, _ := tell(t, p, []byte("X-Forwarded-Proto: http\r\n"), addr("10.0.0.9")); got["x-forwarded-proto"] != "https" || got["x-forwarded-host"] != "" {
		t.Errorf("got %q", got)
	}
}

// The property behind the table: whatever a client sends, through any number of trusted proxies that append to its header
// in either of the ways that are in use, the upstream sees one list, and it is the way that the request came.
func FuzzTheListIsTheWay(f *testing.F) {
	f.Add([]byte("Host: a\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: X-Forwarded-For\r\n"), uint8(1), true)
	f.Add([]byte("X_Forwarded_For: 6.6.6.6\r\nx-forwarded-for: ,\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n"), uint8(2), false)
	f.Add([]byte("X-Forwarded-For: 6.6.6.6, 6.6.6.6\r\nX-Forwarded-For:\r\nX-Forwarded-Proto: https\r\n"), uint8(0), true)
	f.Fuzz(func(t *testing.T, section []byte, proxies uint8, joined bool) {
		lines, err := header.Parse(nil, append(bytes.Clone(section), "\r\n"...))
		if err != nil || len(lines) > header.MaxLines/2 {
			return
		}
		section = section[:0]
		for _, line := range lines { // what else there was behind the empty line is no header
			section = append(section, line.Raw...)
		}
		hops := int(proxies) % (identity.MaxTrustedHops + 1)
		var way []string // from the client to our peer
		for i := range hops {
			way = append(way, fmt.Sprintf("203.0.113.%d", i+1))
			section = appendTo(t, section, way[i], joined)
		}
		way = append(way, "10.0.0.9")
		got, client := tell(t, trusting(t, hops), section, addr("10.0.0.9"))
		if want := strings.Join(way, ", "); got["x-forwarded-for"] != want || client.String() != way[0] || got["x-real-ip"] != way[0] {
			t.Errorf("%q with %d hops: got %v and %q, want %s", section, hops, client, got, want)
		}
		proto, forwarded := got["x-forwarded-proto"], got["forwarded"]
		if forwarded != "" || !slices.Contains([]string{"http", "https", "ws", "wss"}, proto) || hops == 0 && proto != "http" {
			t.Errorf("%q with %d hops: got %q", section, hops, got)
		}
	})
}

// appendTo does what a proxy does: it adds a line, or joins all lines of the name and its own entry in one.
func appendTo(tb testing.TB, section []byte, entry string, joined bool) []byte {
	tb.Helper()
	var rest []byte
	entries := []string{entry}
	if joined {
		for _, line := range parse(tb, string(section)) {
			if line.Kind != header.ForwardedFor {
				rest = append(rest, line.Raw...)
			} else {
				entries = slices.Insert(entries, len(entries)-1, string(line.Value))
			}
		}
	} else {
		rest = section
	}
	return fmt.Appendf(bytes.Clone(rest), "X-Forwarded-For: %s\r\n", strings.Join(entries, ", "))
}

func TestOriginsCostNoAllocation(t *testing.T) {
	lines := parse(t, "Host: a\r\nX-Forwarded-For: 203.0.113.7, 10.0.0.5\r\n")
	for hops, want := range []float64{0, 1, 2} { // one for each address that has to be read
		p, v, buf := trusting(t, hops), vouch(), make([]byte, 0, 1024)
		v.Origin, v.Org = &identity.Origin{}, nil
		if got := testing.AllocsPerRun(100, func() {
			p.Origin(v.Origin, lines, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
			buf = p.AppendHeader(buf[:0], lines, v)
		}); got > want {
			t.Errorf("%d hops cost %v allocations", hops, got)
		}
	}
}

func BenchmarkOrigin(b *testing.B) {
	lines := parse(b, "Host: 127.0.0.1:8080\r\nX-Forwarded-For: 203.0.113.7, 10.0.0.5\r\nContent-Type: application/json\r\nContent-Length: 150\r\n")
	for hops := range 3 {
		b.Run(fmt.Sprintf("hops=%d", hops), func(b *testing.B) {
			p, v := trusting(b, hops), vouch()
			v.Origin, v.Org = &identity.Origin{}, nil
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				p.Origin(v.Origin, lines, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
				buf = p.AppendHeader(buf[:0], lines, v)
			}
		})
	}
}
