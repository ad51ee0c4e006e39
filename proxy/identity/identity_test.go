package identity_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"keygate/proxy/header"
	"keygate/proxy/identity"
	"keygate/shared/trust"
	"keygate/shared/uuid7"
)

const secret = "a secret of thirty-two bytes ok!"

func policy(tb testing.TB, change ...func(*identity.Policy)) *identity.Policy {
	tb.Helper()
	secrets, err := trust.Parse(secret)
	if err != nil {
		tb.Fatal(err)
	}
	p := identity.Policy{OrgHeader: "X-Org-Id", Carriers: identity.Bearer | identity.XAPIKey, Secrets: secrets}
	for _, f := range change {
		f(&p)
	}
	return identity.New(p)
}

func parse(tb testing.TB, section string) header.Lines {
	tb.Helper()
	lines, err := header.Parse(nil, []byte(section+"\r\n"))
	if err != nil {
		tb.Fatal(err)
	}
	return lines
}

func vouch() *identity.Vouch {
	return &identity.Vouch{
		Org: []byte("org-1"), KeyPrefix: []byte("zap_live_1"), ID: uuid7.Mint(time.Now()),
		Method: []byte("POST"), Target: []byte("/v1/events?x=1"), Now: time.Now(),
	}
}

// appendHeader appends what the upstream is to see of lines that came from 10.0.0.9.
func appendHeader(p *identity.Policy, dst []byte, lines header.Lines, v *identity.Vouch) []byte {
	v.Origin = &identity.Origin{}
	p.Origin(v.Origin, lines, netip.AddrFrom4([4]byte{10, 0, 0, 9}))
	return p.AppendHeader(dst, lines, v)
}

// fromPeer is what the upstream is told of the origin of a request to the host a.
const fromPeer = "X-Real-IP: 10.0.0.9\r\nX-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n"

func TestWhatReachesTheUpstream(t *testing.T) {
	p := policy(t, func(p *identity.Policy) { p.Secrets = nil })
	v := vouch()
	ours := fromPeer + "X-Org-Id: org-1\r\nX-Org-Key: zap_live_1\r\nX-Keygate-Id: " + v.ID.String() + "\r\n"
	f := func(name, sent, want string) {
		t.Helper()
		if got := string(appendHeader(p, nil, parse(t, sent), v)); got != want+ours {
			t.Errorf("%s:\nsent %q\ngot  %q\nwant %q", name, sent, got, want+ours)
		}
	}
	kept := "host: a\r\nX-Foo: 1\r\nx-foo:2\r\nCookie: a=b\r\nCookie: c=d\r\nx-request-id: mine\r\n"
	f("honest lines stay as they are", kept, kept)
	f("framing and hop-by-hop lines go",
		"Host: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nKeep-Alive: 1\r\n"+
			"TE: trailers\r\nTrailer: X-Org-Id\r\nUpgrade: h2c\r\nExpect: 100-continue\r\nProxy-Connection: x\r\n"+
			"HTTP2-Settings: x\r\nProxy-Authorization: x\r\n", "Host: a\r\n")
	f("what Connection lists goes, in every line of it, but not Host",
		"Host: a\r\nConnection: close, X-A\r\nX-A: 1\r\nConnection: ,x-b , host\r\nX-B: 2\r\nX-C: 3\r\n", "Host: a\r\nX-C: 3\r\n")
	f("Connection cannot take our header away", "Host: a\r\nConnection: X-Org-Id, X-Org-Key, X-Keygate-Id\r\n", "Host: a\r\n")
	for _, name := range []string{
		"X-Org-Id", "x-org-id", "X_ORG_ID", "X-Org.Id", "X.Org-Id", "X-Org-Key", "x_org_anything", "X-Keygate-Id", "x*keygate~id",
		"X-Org-" + strings.Repeat("long", 40),
	} {
		f("identity in any spelling goes", "Host: a\r\n"+name+": evil\r\n", "Host: a\r\n")
	}
	f("credentials go, in any spelling",
		"Host: a\r\nX-API-Key: k\r\nx_api_key: k\r\nAuthorization: bearer  k\r\nAUTHORIZATION: Bearer\r\n", "Host: a\r\n")
	f("framing in other spellings goes", "Host: a\r\nContent_Length: 3\r\nTransfer.Encoding: chunked\r\n", "Host: a\r\n")
	f("what tells of another origin goes, in any spelling",
		"Host: a\r\nX-Forwarded-For: evil\r\nx_forwarded_for: evil\r\nX.Real.IP: evil\r\nForwarded: for=evil\r\nX-Forwarded-Host: evil\r\n"+
			"X_Forwarded_Proto: evil\r\nX-Forwarded-Port: 1\r\nX-Forwarded-"+strings.Repeat("long", 40)+": 1\r\n", "Host: a\r\n")
	f("another scheme stays", "Host: a\r\nAuthorization: Basic eA==\r\n", "Host: a\r\nAuthorization: Basic eA==\r\n")
}

func TestARequestWithoutHostGetsOne(t *testing.T) {
	got := string(appendHeader(policy(t), nil, parse(t, "A: b\r\n"), vouch()))
	if !strings.HasPrefix(got, "A: b\r\nHost: localhost\r\n") {
		t.Errorf("got %q", got)
	}
}

func TestOrgHeaderOfAnotherNameIsStrippedToo(t *testing.T) {
	p := policy(t, func(p *identity.Policy) { p.OrgHeader, p.Secrets = "Tenant", nil })
	got := string(appendHeader(p, nil, parse(t, "Host: a\r\nTENANT: evil\r\nX-Org-Id: evil\r\n"), vouch()))
	if strings.Contains(got, "evil") || !strings.Contains(got, "Tenant: org-1\r\n") {
		t.Errorf("got %q", got)
	}
}

func TestNothingIsVouchedForWithoutAnOrganisation(t *testing.T) {
	got := string(appendHeader(policy(t), nil, parse(t, "Host: a\r\nX-Org-Id: evil\r\nX-API-Key: k\r\n"),
		&identity.Vouch{RequestID: []byte("minted")}))
	if got != "Host: a\r\n"+fromPeer+"X-Request-Id: minted\r\n" {
		t.Errorf("got %q", got)
	}
}

func TestTheSignatureIsTheOneThatTheWriterVerifies(t *testing.T) {
	v := vouch()
	lines := parse(t, string(appendHeader(policy(t), nil, parse(t, "Host: a\r\n"), v)))
	var signature []byte
	for _, line := range lines {
		if string(line.Name) == identity.SignatureHeader {
			signature = line.Value
		}
	}
	other, err := trust.Parse("the secret that comes next")
	if err != nil {
		t.Fatal(err)
	}
	claim := trust.Claim{Org: v.Org, ID: []byte(v.ID.String()), Method: v.Method, Target: v.Target}
	if err := other.Verify(signature, claim, time.Now()); err == nil {
		t.Error("another secret verified it")
	}
	secrets, err := trust.Parse("the secret that comes next," + secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := secrets.Verify(signature, claim, time.Now()); err != nil {
		t.Errorf("%q: %v", signature, err)
	}
}

func TestCredential(t *testing.T) {
	f := func(section, key string, want error) {
		t.Helper()
		got, err := policy(t).Credential(parse(t, section))
		if string(got) != key || err != want {
			t.Errorf("%q: got %q, %v; want %q, %v", section, got, err, key, want)
		}
	}
	f("", "", identity.ErrMissing)
	f("X-API-Key: k\r\n", "k", nil)
	f("x-api-key:k\r\n", "k", nil)
	f("Authorization: Bearer k\r\n", "k", nil)
	f("authorization: BEARER   k\r\n", "k", nil)
	f("Authorization: Basic k\r\n", "", identity.ErrMissing)
	f("Authorization: Basic k\r\nX-API-Key: k\r\n", "k", nil)
	f("X_API_Key: k\r\n", "", identity.ErrMissing)
	f("X-API-Key: k\r\nX-API-Key: k\r\n", "", identity.ErrAmbiguous)
	f("X-API-Key: k\r\nAuthorization: Bearer k\r\n", "", identity.ErrAmbiguous)
	f("Authorization: Bearer k\r\nAuthorization: Basic k\r\n", "", identity.ErrAmbiguous)
}

func TestACarrierThatIsNotListedPassesThrough(t *testing.T) {
	p := policy(t, func(p *identity.Policy) { p.Carriers, p.Secrets = identity.XAPIKey, nil })
	lines := parse(t, "Authorization: Bearer theirs\r\nX-API-Key: k\r\n")
	if key, err := p.Credential(lines); string(key) != "k" || err != nil {
		t.Errorf("got %q, %v", key, err)
	}
	if got := string(appendHeader(p, nil, lines, vouch())); !strings.HasPrefix(got, "Authorization: Bearer theirs\r\n") {
		t.Errorf("got %q", got)
	}
}

func TestKeepCredential(t *testing.T) {
	p := policy(t, func(p *identity.Policy) { p.KeepCredential = true })
	got := string(appendHeader(p, nil, parse(t, "X-API-Key: k\r\n"), vouch()))
	if !strings.HasPrefix(got, "X-API-Key: k\r\n") {
		t.Errorf("got %q", got)
	}
}

// The property of the whole package: whatever parses, exactly one header of the result folds to the organisation's name,
// and it is ours.
func FuzzExactlyOneOrganisation(f *testing.F) {
	f.Add([]byte("Host: a\r\nX-Org-Id: evil\r\nConnection: X-Org-Id\r\n"))
	f.Add([]byte("X_Org_Id: evil\r\nTrailer: X-Org-Id\r\n"))
	p := policy(f)
	f.Fuzz(func(t *testing.T, section []byte) {
		lines, err := header.Parse(nil, append(bytes.Clone(section), "\r\n"...))
		if err != nil {
			return
		}
		sent, err := header.Parse(nil, append(appendHeader(p, nil, lines, vouch()), "\r\n"...))
		if err != nil {
			t.Fatalf("the result does not parse: %v", err)
		}
		found := 0
		for _, line := range sent {
			if string(header.Fold(nil, line.Name)) == "x-org-id" {
				found++
				if string(line.Value) != "org-1" {
					t.Errorf("organisation %q", line.Value)
				}
			}
		}
		if found != 1 {
			t.Errorf("%d organisation headers from %q", found, section)
		}
	})
}
