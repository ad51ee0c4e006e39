package server

import (
	"errors"

	"github.com/valyala/fasthttp"

	"keygate/proxy/auth"
	"keygate/proxy/forward"
	"keygate/proxy/identity"
	"keygate/shared/problem"
	"keygate/shared/serving"
)

func credentialProblem(err error) problem.Problem {
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

// denial tells clients no more than they need: malformed, unknown, wrong, revoked and expired keys look the same.
func denial(d auth.Decision) problem.Problem {
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

// forwarding is the table from what can go wrong with the upstream to what the client is told.
var forwarding = []struct {
	err     error
	problem problem.Problem
}{
	{forward.ErrBusy, problem.Problem{
		Code: problem.Unavailable, Detail: "Too many requests are waiting for the upstream. Try again shortly."}},
	{forward.ErrTimeout, problem.Problem{
		Code: problem.UpstreamTimeout, Detail: "The upstream did not answer in time. It may have carried out the request."}},
	{forward.ErrBodyTooLarge, problem.Problem{
		Code: problem.BodyTooLarge, Detail: "The body is larger than this proxy accepts."}},
	{forward.ErrClientBody, problem.Problem{
		Code: problem.BadRequest, Detail: "The body ended early or its chunks were malformed."}},
	{forward.ErrClientTimeout, problem.Problem{
		Code: problem.RequestTimeout, Detail: "The body did not arrive in time."}},
	{forward.ErrBadResponse, problem.Problem{
		Code: problem.UpstreamUnreachable, Detail: "The upstream's answer was not understood."}},
	{forward.ErrUncertain, problem.Problem{
		Code:   problem.UpstreamUnreachable,
		Detail: "The upstream broke off before it answered. It may have carried out the request."}},
	{forward.ErrUnreachable, problem.Problem{
		Code: problem.UpstreamUnreachable, Detail: "The upstream could not be reached."}},
}

func forwardProblem(err error) problem.Problem {
	for _, row := range forwarding {
		if errors.Is(err, row.err) {
			return row.problem
		}
	}
	return problem.Problem{Code: problem.UpstreamUnreachable, Detail: "The upstream did not answer."}
}

// leavesBody says whether a request's body was given up before its end.
func leavesBody(err error) bool {
	return errors.Is(err, forward.ErrClientBody) || errors.Is(err, forward.ErrClientTimeout) ||
		errors.Is(err, forward.ErrBodyTooLarge)
}

// refuseUnparsed answers requests that the HTTP parser gave up on. The server closes the connection afterwards.
func (s *Server) refuseUnparsed(ctx *fasthttp.RequestCtx, err error) {
	p := problem.Problem{Code: problem.BadRequest, Detail: "The request is not valid HTTP/1.1."}
	switch {
	case serving.IsHeaderTooLarge(err):
		p = problem.Problem{Code: problem.HeadersTooLarge, Detail: "The request line and headers are too large."}
	case serving.IsTimeout(err):
		p = problem.Problem{Code: problem.RequestTimeout, Detail: "The request did not arrive in time."}
	}
	x := s.exchanges.acquire(ctx)
	defer s.exchanges.release(x)
	x.broken = true
	s.refuse(x, p)
	s.finish(x)
}
