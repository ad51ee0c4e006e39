// Package trust lets the writer believe what the proxy says of a request.
//
// Both hold a secret. The proxy signs the organisation, the request's id, its method and its target; the writer
// verifies. Two secrets may be held while one replaces the other: the first signs, both verify.
package trust

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync"
	"time"
)

// MaxSkew is how far the clocks of proxy and writer may differ.
const MaxSkew = 60 * time.Second

// MinSecret is the fewest bytes a secret may have.
const MinSecret = 16

// ErrUntrusted reports a signature that is missing, malformed, too old or wrong. It does not say which.
var ErrUntrusted = errors.New("untrusted signature")

// Secrets are the one or two secrets in force. The zero value and nil hold none. Safe for concurrent use.
type Secrets struct {
	macs []*sync.Pool // of *mac; the first signs
}

// mac has room for its sum, which would be allocated for each call otherwise.
type mac struct {
	hash.Hash
	sum [sha256.Size]byte
}

// Parse reads one secret, or two separated by a comma, each of at least MinSecret bytes.
// The empty text is no secret: a nil *Secrets and no error.
func Parse(text string) (*Secrets, error) {
	if text == "" {
		return nil, nil
	}
	parts := strings.Split(text, ",")
	if len(parts) > 2 {
		return nil, errors.New("at most two trust secrets may be in force, separated by one comma")
	}
	s := &Secrets{}
	for _, part := range parts {
		if len(part) < MinSecret {
			return nil, fmt.Errorf("a trust secret must have at least %d bytes; `openssl rand -hex 32` makes a good one", MinSecret)
		}
		s.macs = append(s.macs, &sync.Pool{New: func() any { return &mac{Hash: hmac.New(sha256.New, []byte(part))} }})
	}
	return s, nil
}

// Held says whether there is a secret to sign or verify with.
func (s *Secrets) Held() bool { return s != nil && len(s.macs) > 0 }

// Claim is what a signature vouches for. The bytes are only read.
type Claim struct {
	Org    []byte
	ID     []byte // canonical text of the request's id
	Method []byte
	Target []byte // path and query as sent
}

// AppendSignature appends `t=<unix seconds>,v1=<hex HMAC-SHA256>` to dst.
func (s *Secrets) AppendSignature(dst []byte, c Claim, now time.Time) []byte {
	dst = append(dst, "t="...)
	at := len(dst)
	dst = strconv.AppendInt(dst, now.Unix(), 10)
	sum := s.sum(0, func(mac hash.Hash) { c.write(mac, dst[at:]) })
	dst = append(dst, ",v1="...)
	return hex.AppendEncode(dst, sum[:])
}

// Verify reports ErrUntrusted unless signature vouches for c within MaxSkew of now.
func (s *Secrets) Verify(signature []byte, c Claim, now time.Time) error {
	t, v1, ok := bytes.Cut(signature, []byte(",v1="))
	t, tagged := bytes.CutPrefix(t, []byte("t="))
	seconds, err := strconv.ParseInt(string(t), 10, 64)
	var want [sha256.Size]byte
	if !s.Held() || !ok || !tagged || err != nil || len(v1) != hex.EncodedLen(sha256.Size) {
		return ErrUntrusted
	}
	if _, err := hex.Decode(want[:], v1); err != nil {
		return ErrUntrusted
	}
	if skew := now.Sub(time.Unix(seconds, 0)); skew > MaxSkew || skew < -MaxSkew {
		return ErrUntrusted
	}
	if !s.any(want[:], func(mac hash.Hash) { c.write(mac, t) }) {
		return ErrUntrusted
	}
	return nil
}

// Seal returns the HMAC of parts under the first secret. Each part is preceded by its length, so that no two
// lists of parts are the same message.
func (s *Secrets) Seal(parts ...[]byte) [sha256.Size]byte {
	return s.sum(0, func(mac hash.Hash) { writeParts(mac, parts) })
}

// Sealed says whether seal is the HMAC of parts under any secret in force.
func (s *Secrets) Sealed(seal []byte, parts ...[]byte) bool {
	return s.any(seal, func(mac hash.Hash) { writeParts(mac, parts) })
}

func (s *Secrets) any(want []byte, write func(hash.Hash)) bool {
	for i := range s.macs {
		sum := s.sum(i, write)
		if hmac.Equal(sum[:], want) {
			return true
		}
	}
	return false
}

func (s *Secrets) sum(i int, write func(hash.Hash)) (sum [sha256.Size]byte) {
	m := s.macs[i].Get().(*mac)
	m.Reset()
	write(m)
	m.Sum(m.sum[:0])
	sum = m.sum
	s.macs[i].Put(m)
	return sum
}

var newline = []byte("\n")

func (c Claim) write(mac hash.Hash, seconds []byte) {
	mac.Write(seconds)
	for _, part := range [...][]byte{c.Org, c.ID, c.Method, c.Target} {
		mac.Write(newline)
		mac.Write(part)
	}
}

func writeParts(mac hash.Hash, parts [][]byte) {
	var length [20]byte
	for _, part := range parts {
		mac.Write(strconv.AppendInt(length[:0], int64(len(part)), 10))
		mac.Write(newline)
		mac.Write(part)
	}
}
