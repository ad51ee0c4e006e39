package auth_test

import (
	"net/netip"
	"testing"

	"keygate/proxy/auth"
)

// Ensure memory alone says of a key that it may pass, or nothing: neither the database nor Redis are asked, and whatever
// else there is to say, Resolve says.
func TestRecallSaysWhoMayPassOrNothing(t *testing.T) {
	truth := newTruth(t)
	p := newProxy(t, settings{truth: truth})
	k, queries := truth.create(t), p.source.queries.Load()
	check := func(when string, key []byte, want bool) {
		t.Helper()
		before := p.source.queries.Load()
		d, known := p.Recall(key)
		if known != want || known && (d.Reason != auth.Allowed || d.Principal.OrgID != "org-1") {
			t.Errorf("%s: %v %q, %v", when, d.Reason, d.Principal.OrgID, known)
		}
		if now := p.source.queries.Load(); now != before {
			t.Errorf("%s: the database was asked", when)
		}
	}
	learn := func() {
		t.Helper()
		if d := p.Resolver.Resolve(t.Context(), k.text, netip.Addr{}); d.Reason == auth.Unavailable {
			t.Fatal(d.Reason)
		}
	}
	check("a key that nobody has shown", k.text, false)
	check("no key", []byte("nothing like a key"), false)
	learn()
	if p.source.queries.Load() == queries {
		t.Fatal("the database was never asked")
	}
	check("a key that was shown", k.text, true)
	wrong := append([]byte(nil), k.text...)
	wrong[len(wrong)-1] ^= 1
	check("another secret", wrong, false)
	for _, verb := range []auth.Verb{auth.Remove, auth.Look, auth.Demote} {
		p.Changed(auth.Change{Verb: verb, Scope: auth.Scope{Prefixes: []string{k.prefix}}})
		check("after a change", k.text, false)
		learn()
		check("after it was looked up", k.text, true)
	}
	truth.revoke(t, k)
	p.Changed(auth.Change{Verb: auth.Remove, Scope: auth.Scope{All: true}})
	learn()
	check("a revoked key", k.text, false)
}
