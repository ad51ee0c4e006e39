package trust_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"keygate/shared/trust"
)

const (
	first  = "the first secret of 32 bytes - ok"
	second = "the second secret of 32 bytes ok"
)

func parse(tb testing.TB, text string) *trust.Secrets {
	tb.Helper()
	s, err := trust.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func claim() trust.Claim {
	return trust.Claim{
		Org: []byte("org-1"), ID: []byte("019ab0a1-7f7b-7000-8123-456789abcdef"), Method: []byte("POST"), Target: []byte("/v1/events?a=b"),
	}
}

// Computed with `openssl dgst -sha256 -hmac` over the message of the documented form, so that other programs can sign.
func TestTheSignatureIsTheDocumentedOne(t *testing.T) {
	got := string(parse(t, first).AppendSignature(nil, claim(), time.Unix(1_763_900_000, 0)))
	if want := "t=1763900000,v1=f38eb95566087d00ac47bf21947e9b7b65cd4010f3624d3d5bd07d8e58d7c972"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestVerifyRefusesWhatWasNotSigned(t *testing.T) {
	now := time.Now()
	s := parse(t, first)
	signature := s.AppendSignature(nil, claim(), now)
	if err := s.Verify(signature, claim(), now); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*trust.Claim){
		"org":    func(c *trust.Claim) { c.Org = []byte("org-2") },
		"id":     func(c *trust.Claim) { c.ID = []byte("019ab0a1-7f7b-7000-8123-456789abcdee") },
		"method": func(c *trust.Claim) { c.Method = []byte("PUT") },
		"target": func(c *trust.Claim) { c.Target = []byte("/v1/events") },
		"shift":  func(c *trust.Claim) { c.Org, c.ID = []byte("org-1\n019ab0a1-7f7b-7000-8123-456789abcdef"), nil },
	} {
		c := claim()
		change(&c)
		if err := s.Verify(signature, c, now); !errors.Is(err, trust.ErrUntrusted) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	for _, wrong := range []string{
		"", "t=,v1=", string(signature[:len(signature)-1]), string(signature) + "0", strings.Replace(string(signature), "v1", "v2", 1),
		strings.Replace(string(signature), "t=", "t=0", 1), string(signature[2:]), "t=x" + string(signature[2:]),
	} {
		if err := s.Verify([]byte(wrong), claim(), now); !errors.Is(err, trust.ErrUntrusted) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	if err := parse(t, second).Verify(signature, claim(), now); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("another secret: %v", err)
	}
	if err := (*trust.Secrets)(nil).Verify(signature, claim(), now); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("no secret: %v", err)
	}
}

func TestSignaturesGetOld(t *testing.T) {
	at := time.Unix(1_763_900_000, 0)
	s := parse(t, first)
	signature := s.AppendSignature(nil, claim(), at)
	for skew, want := range map[time.Duration]error{
		0: nil, trust.MaxSkew: nil, -trust.MaxSkew: nil,
		trust.MaxSkew + time.Second: trust.ErrUntrusted, -trust.MaxSkew - time.Second: trust.ErrUntrusted,
	} {
		if err := s.Verify(signature, claim(), at.Add(skew)); !errors.Is(err, want) {
			t.Errorf("%v: %v", skew, err)
		}
	}
}

func TestWhileOneSecretReplacesTheOtherBothVerify(t *testing.T) {
	now := time.Now()
	both := parse(t, second+","+first)
	old := parse(t, first).AppendSignature(nil, claim(), now)
	if err := both.Verify(old, claim(), now); err != nil {
		t.Errorf("signed with the one that goes: %v", err)
	}
	if err := parse(t, second).Verify(both.AppendSignature(nil, claim(), now), claim(), now); err != nil {
		t.Errorf("the first one signs: %v", err)
	}
}

func TestParseRefusesWeakSecrets(t *testing.T) {
	for _, text := range []string{"short", first + ",short", first + "," + second + "," + first, "," + first, first + ","} {
		if _, err := trust.Parse(text); err == nil {
			t.Errorf("%q was accepted", text)
		} else if strings.Contains(err.Error(), first) {
			t.Errorf("the error quotes a secret: %v", err)
		}
	}
	if s, err := trust.Parse(""); err != nil || s.Held() {
		t.Errorf("no secret: %v, %v", s.Held(), err)
	}
}

func TestSealsTellPartsApart(t *testing.T) {
	s := parse(t, first)
	seal := s.Seal([]byte("ab"), []byte("c"))
	if !s.Sealed(seal[:], []byte("ab"), []byte("c")) {
		t.Error("its own seal is refused")
	}
	for _, parts := range [][][]byte{{[]byte("a"), []byte("bc")}, {[]byte("abc")}, {[]byte("ab"), []byte("c"), nil}} {
		if s.Sealed(seal[:], parts...) {
			t.Errorf("%q has the same seal", parts)
		}
	}
}
