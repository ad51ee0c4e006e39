package server

import (
	"errors"

	"github.com/valyala/fasthttp"

	"keygate/proxy/forward"
	"keygate/proxy/refusal"
	"keygate/shared/problem"
)

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
	x := s.exchanges.acquire(ctx)
	defer s.exchanges.release(x)
	x.broken = true
	s.refuse(x, refusal.Unparsed(err))
	s.finish(x)
}
