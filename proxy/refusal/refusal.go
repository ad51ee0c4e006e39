// Package refusal is the table from what is wrong with a request, or with who sends it, to what its sender is told. All
// listeners that ask for a key have it in common.
package refusal

import (
	"errors"
	"fmt"

	"keygate/proxy/auth"
	"keygate/proxy/header"
	"keygate/proxy/identity"
	"keygate/shared/problem"
	"keygate/shared/serving"
)

// Unparsed is for requests that the HTTP parser gave up on.
func Unparsed(err error) problem.Problem {
	rule, broken := serving.BrokenRule(err)
	switch {
	case broken:
		return Header(rule)
	case serving.IsHeaderTooLarge(err):
		return problem.Problem{Code: problem.HeadersTooLarge, Detail: "The request line and headers are too large."}
	case serving.IsTimeout(err):
		return problem.Problem{Code: problem.RequestTimeout, Detail: "The request did not arrive in time."}
	}
	return problem.Problem{Code: problem.BadRequest, Detail: "The request is not valid HTTP/1.1."}
}

// Header is for errors of package header.
func Header(err error) problem.Problem {
	switch err {
	case header.ErrTooMany:
		return problem.Problem{
			Code: problem.HeadersTooLarge, Detail: fmt.Sprintf("At most %d header lines are accepted.", header.MaxLines),
		}
	case header.ErrExpectation:
		return problem.Problem{Code: problem.ExpectationFailed, Detail: "The only expectation that can be met is 100-continue."}
	}
	return problem.Problem{Code: problem.BadRequest, Detail: "The request was not understood: " + err.Error() + "."}
}

// Credential is for requests without exactly one credential.
func Credential(err error) problem.Problem {
	if errors.Is(err, identity.ErrAmbiguous) {
		return problem.Problem{
			Code: problem.AmbiguousCredentials, Detail: "The request carries more than one API key: send exactly one.",
		}
	}
	return problem.Problem{
		Code:   problem.MissingAPIKey,
		Detail: "Send your API key as `Authorization: Bearer <key>` or `X-API-Key: <key>`.",
	}
}

// Decision is for keys that may not pass. Clients are told no more than they need: malformed, unknown, wrong, revoked and
// expired keys look the same.
func Decision(d auth.Decision) problem.Problem {
	switch {
	case d.Outcome() == auth.Unknown:
		return problem.Problem{
			Code: problem.AuthUnavailable, Detail: "The key cannot be checked at the moment. Try again shortly.",
		}
	case d.Reason == auth.Suspended:
		return problem.Problem{
			Code: problem.OrganizationSuspended, Detail: "The organization that this key belongs to is suspended.",
		}
	}
	return problem.Problem{Code: problem.InvalidAPIKey, Detail: "The API key is not valid."}
}
