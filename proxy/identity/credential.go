package identity

import (
	"bytes"
	"errors"
	"fmt"

	"keygate/proxy/header"
)

// Carrier is where a client may put its key.
type Carrier uint8

// The carriers.
const (
	Bearer  Carrier = 1 << iota // Authorization: Bearer <key>
	XAPIKey                     // X-API-Key: <key>
)

// Credentials says that there is not exactly one credential.
var (
	ErrMissing   = errors.New("no API key")
	ErrAmbiguous = errors.New("more than one API key")
)

// ParseCarriers reads the names of --credential: "bearer" and "x-api-key".
func ParseCarriers(names []string) (set Carrier, err error) {
	for _, name := range names {
		switch name {
		case "bearer":
			set |= Bearer
		case "x-api-key":
			set |= XAPIKey
		default:
			return 0, fmt.Errorf("--credential %s: use bearer, x-api-key or both", name)
		}
	}
	if set == 0 {
		return 0, errors.New("--credential: name bearer, x-api-key or both")
	}
	return set, nil
}

// Credential returns the one key that the request presents in a listed carrier. Other carriers are not looked at.
// The key aliases lines. Errors are ErrMissing and ErrAmbiguous.
func (p *Policy) Credential(lines header.Lines) ([]byte, error) {
	var key []byte
	found := 0
	authorizations := 0
	for i := range lines {
		switch lines[i].Kind {
		case header.Authorization:
			authorizations++
			if token, ok := bearerToken(lines[i].Value); ok && p.Carriers&Bearer != 0 {
				key = token
				found++
			}
		case header.APIKey:
			if p.Carriers&XAPIKey != 0 {
				key = lines[i].Value
				found++
			}
		}
	}
	switch {
	case found > 1, p.Carriers&Bearer != 0 && authorizations > 1:
		return nil, ErrAmbiguous
	case found == 0:
		return nil, ErrMissing
	}
	return key, nil
}

func bearerToken(value []byte) ([]byte, bool) {
	scheme, token, _ := bytes.Cut(value, []byte(" "))
	if !header.EqualFold(scheme, "bearer") {
		return nil, false
	}
	return bytes.TrimLeft(token, " "), true
}

// isCredential says whether a line must not reach the upstream because it carries, or spells the name of, a credential.
func (p *Policy) isCredential(line *header.Line, folded []byte) bool {
	if p.KeepCredential {
		return false
	}
	switch {
	case p.Carriers&XAPIKey != 0 && string(folded) == "x-api-key":
		return true
	case p.Carriers&Bearer != 0 && string(folded) == "authorization":
		if line.Kind != header.Authorization {
			return true
		}
		_, ok := bearerToken(line.Value)
		return ok
	}
	return false
}
