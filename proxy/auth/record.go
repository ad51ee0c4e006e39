package auth

import (
	"crypto/sha256"
	"errors"
	"time"
)

// Alg is how a stored hash was made from the whole key.
type Alg uint8

// The algorithms. Slow password hashes are left out on purpose: keys carry at least 128 random bits, and the
// hash is compared on every request.
const (
	SHA256     Alg = iota + 1 // SHA-256 of the key
	HMACSHA256                // HMAC-SHA-256 of the key under the pepper
)

// ErrAlg reports the name of an algorithm that is not supported.
var ErrAlg = errors.New("unknown hash algorithm: use sha256 or hmac-sha256")

// ParseAlg reads the name that flags, Redis and SQL use: "sha256" or "hmac-sha256".
func ParseAlg(name string) (Alg, error) {
	switch name {
	case "sha256":
		return SHA256, nil
	case "hmac-sha256":
		return HMACSHA256, nil
	}
	return 0, ErrAlg
}

// String returns the name that ParseAlg reads.
func (a Alg) String() string {
	switch a {
	case SHA256:
		return "sha256"
	case HMACSHA256:
		return "hmac-sha256"
	}
	return "unknown"
}

// Hash is a stored or presented hash of a whole key.
type Hash [sha256.Size]byte

// Key is one row that the source holds for a prefix. Our own tables hold one row per prefix; a foreign table may
// hold several.
type Key struct {
	OrgID      string // 1 to 128 bytes of [A-Za-z0-9._:-]
	Hash       Hash
	Alg        Alg
	Enabled    bool      // false once the key is revoked
	OrgEnabled bool      // false while the organisation is suspended
	ExpiresAt  time.Time // zero: never
}

// Record is what the caches hold for a prefix that exists. Times are Unix milliseconds on the clock of the shared cache
// (on this process's clock where there is none), so that proxies with different clocks agree about a record's age.
type Record struct {
	Fill       string // random, names this filling of the cache
	FilledAt   int64  // taken before the source was read
	ReadAt     int64  // when the source had answered
	FreshUntil int64
	Keys       []Key // never empty
}

// maxOrgID keeps an organisation within the uint8 length of the record's binary form, and within any header.
const maxOrgID = 128

// ErrOrgID reports an organisation id that must not be injected into a header.
var ErrOrgID = errors.New("organisation id is not 1 to 128 bytes of [A-Za-z0-9._:-]")

// CheckOrgID returns ErrOrgID unless id may be injected.
func CheckOrgID(id string) error {
	if len(id) == 0 || len(id) > maxOrgID {
		return ErrOrgID
	}
	for i := 0; i < len(id); i++ {
		switch c := id[i]; {
		case '0' <= c && c <= '9', 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', c == '.', c == '_', c == ':', c == '-':
		default:
			return ErrOrgID
		}
	}
	return nil
}
