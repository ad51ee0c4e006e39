package auth

import (
	"crypto/hmac"
	"crypto/sha256"
)

// Outcome is what became of a question. Unknown is not Deny: it says that nobody could be asked.
type Outcome uint8

// The outcomes.
const (
	Unknown Outcome = iota
	Deny
	Allow
)

// Reason says why, for metrics and logs. Clients are told only what Outcome and Suspended say: whether a key is
// malformed, unknown, wrong, revoked or expired is nobody's business but the operator's.
type Reason uint8

// The reasons, ordered so that of several rows the one closest to an allowed key is told.
const (
	Unavailable Reason = iota // the source could not be asked, and no last known answer may be used
	Flooding                  // the address has spent its look-ups that find nothing, and nobody else knows the key
	Malformed
	NoSuchKey
	WrongSecret
	Revoked
	Expired
	Suspended // the organisation is
	Allowed
)

var reasonNames = [...]string{
	Unavailable: "unavailable", Flooding: "flooding", Malformed: "malformed",
	NoSuchKey: "no_such_key", WrongSecret: "wrong_secret",
	Revoked: "revoked", Expired: "expired", Suspended: "suspended", Allowed: "allowed",
}

// String returns the name that metrics use.
func (r Reason) String() string { return reasonNames[r] }

// Outcome says whether a reason allows, denies, or leaves the question open.
func (r Reason) Outcome() Outcome {
	switch r {
	case Unavailable, Flooding:
		return Unknown
	case Allowed:
		return Allow
	}
	return Deny
}

// Principal is who is calling.
type Principal struct {
	OrgID  string
	Prefix []byte // aliases the presented key
}

// Decision is the answer to "may this key pass?".
type Decision struct {
	Reason    Reason
	Principal Principal // when Allowed
	LastKnown bool      // decided by a copy that could not be refreshed
}

// Outcome says whether the decision allows, denies, or leaves the question open.
func (d Decision) Outcome() Outcome { return d.Reason.Outcome() }

// presented is a key as a client sent it, with the hashes that stored keys may ask for.
type presented struct {
	key    []byte
	sha    Hash
	pepper []byte
}

func (p *presented) hash(alg Alg) Hash {
	if alg == HMACSHA256 {
		return hmacHash(p.pepper, p.key)
	}
	return p.sha
}

func hmacHash(pepper, key []byte) (h Hash) {
	mac := hmac.New(sha256.New, pepper)
	mac.Write(key)
	mac.Sum(h[:0])
	return h
}

// HashKey returns what is stored for a key. The pepper is used by HMACSHA256 alone.
func HashKey(alg Alg, pepper, key []byte) Hash {
	if alg == HMACSHA256 {
		return hmacHash(pepper, key)
	}
	return sha256.Sum256(key)
}
