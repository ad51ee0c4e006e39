package auth_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"keygate/proxy/auth"
)

// Ensure memory alone answers: neither the database nor Redis are asked, and what is to be asked, Resolve asks.
func TestRecallAnswersFromMemoryAlone(t *testing.T) {
	truth := newTruth(t)
	p := newProxy(t, settings{truth: truth, change: func(cfg *auth.Config) {
		cfg.Format.ForeignPrefix, cfg.HashesMayChange = 21, true
	}})
	k, nobody, queries := truth.create(t), mint(t), p.source.queries.Load()
	check := func(when string, key []byte, want auth.Reason, wantKnown bool) {
		t.Helper()
		before := p.source.queries.Load()
		d, known := p.Recall(key, time.Now())
		if known != wantKnown || known && (d.Reason != want || (want == auth.Allowed) != (d.Principal.OrgID == "org-1")) {
			t.Errorf("%s: %v %q, %v", when, d.Reason, d.Principal.OrgID, known)
		}
		if now := p.source.queries.Load(); now != before {
			t.Errorf("%s: the database was asked", when)
		}
	}
	open := func(when string, key []byte) {
		t.Helper()
		check(when, key, auth.Unavailable, false)
	}
	learn := func(key testKey) {
		t.Helper()
		if d := p.Resolver.Resolve(t.Context(), key.text, netip.Addr{}); d.Reason == auth.Unavailable {
			t.Fatal(d.Reason)
		}
	}
	check("no key", []byte("nothing like a key"), auth.Malformed, true)
	open("a key that nobody has shown", k.text)
	open("a key that is nobody's", nobody.text)
	learn(k)
	learn(nobody)
	if p.source.queries.Load() == queries {
		t.Fatal("the database was never asked")
	}
	check("a key that was shown", k.text, auth.Allowed, true)
	check("a key that was found to be nobody's", nobody.text, auth.NoSuchKey, true)
	wrong := []byte(k.prefix + "_" + strings.Repeat("x", 38))
	check("another secret", wrong, auth.WrongSecret, true)
	for _, verb := range []auth.Verb{auth.Remove, auth.Look, auth.Demote} {
		p.Changed(auth.Change{Verb: verb, Scope: auth.Scope{Prefixes: []string{k.prefix}}})
		open("after a change", k.text)
		learn(k)
		check("after it was looked up", k.text, auth.Allowed, true)
	}
	p.Changed(auth.Change{Verb: auth.Remove, Scope: auth.Scope{Prefixes: []string{nobody.prefix}}})
	open("what may be a key by now", nobody.text)
	truth.revoke(t, k)
	p.Changed(auth.Change{Verb: auth.Remove, Scope: auth.Scope{All: true}})
	learn(k)
	check("a revoked key", k.text, auth.Revoked, true)
	<-time.After(1100 * time.Millisecond) // until the copy is old enough to be doubted
	check("a revoked key, later", k.text, auth.Revoked, true)
	open("another secret, later", wrong)
}
