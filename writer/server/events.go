package server

import (
	"context"
	"errors"

	"github.com/valyala/bytebufferpool"
	"github.com/valyala/fasthttp"

	"keygate/shared/problem"
	"keygate/shared/serving"
	"keygate/shared/uuid7"
	"keygate/writer/commit"
	"keygate/writer/event"
)

// idempotencyKey is another way to give an event its dedup id.
const idempotencyKey = "Idempotency-Key"

// single stores one event.
func (s *Server) single(ctx *fasthttp.RequestCtx, who caller, limit int) *problem.Problem {
	e, p := s.readEvent(ctx, who, limit)
	if p != nil {
		return p
	}
	answers, err := s.Commit.Submit(context.Background(), []*event.Event{e})
	if err != nil {
		return unavailable(err)
	}
	if p := failure(answers[0]); p != nil {
		return p
	}
	ctx.SetContentType("application/json")
	ctx.SetStatusCode(fasthttp.StatusOK)
	if answers[0].Outcome == commit.Accepted {
		ctx.SetStatusCode(fasthttp.StatusCreated)
	}
	ctx.Response.SetBodyRaw(append(appendAnswer(make([]byte, 0, 128), answers[0]), '\n'))
	return nil
}

// readEvent keeps nothing of the body: what waits for a commit is the event alone.
func (s *Server) readEvent(ctx *fasthttp.RequestCtx, who caller, limit int) (*event.Event, *problem.Problem) {
	body := bytebufferpool.Get()
	defer bytebufferpool.Put(body)
	if p := s.receive(ctx, who.org, limit, body); p != nil {
		return nil, p
	}
	e, err := event.Decode(body.B, who.id, who.org)
	if err == nil {
		err = useKey(e, ctx.Request.Header.PeekAll(idempotencyKey))
	}
	if rejection, ok := errors.AsType[*event.Rejection](err); ok {
		return nil, rejected(rejection)
	}
	return e, nil
}

func useKey(e *event.Event, keys [][]byte) error {
	switch len(keys) {
	case 0:
		return nil
	case 1:
		return e.UseKey(string(keys[0]))
	}
	return &event.Rejection{Kind: event.Invalid, Detail: idempotencyKey + " may stand only once."}
}

// appendAnswer writes what a stored event is answered with.
func appendAnswer(dst []byte, a commit.Answer) []byte {
	dst = append(dst, `{"id":"`...)
	dst, _ = a.ID.AppendText(dst)
	dst = append(dst, `","status":"`...)
	dst = append(dst, a.Outcome.String()...)
	dst = append(dst, `","created_at":"`...)
	dst = appendTime(dst, a.ID)
	return append(dst, `"}`...)
}

func appendTime(dst []byte, id uuid7.ID) []byte {
	return id.Time().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
}

// failure says what the client is told of an event that was not stored; nil for one that is.
func failure(a commit.Answer) *problem.Problem {
	switch a.Outcome {
	case commit.Accepted, commit.Duplicate:
		return nil
	case commit.Conflict:
		return &problem.Problem{
			Code: problem.DedupConflict, Detail: "Another event has this dedup_id: use a new one for a new event.",
			EventID: a.ID.String(),
		}
	case commit.IDReused:
		return &problem.Problem{Code: problem.IDReused, Detail: "Another event has this id.", EventID: a.ID.String()}
	case commit.Unstorable:
		return &problem.Problem{Code: problem.InvalidEvent, Detail: "The database does not accept the values of this event."}
	case commit.HeldBack:
		return &problem.Problem{
			Code:   problem.Unavailable,
			Detail: "The event was not stored: the database refuses too much of what this organization sends. Send it again shortly.",
		}
	case commit.DiskFull:
		return &problem.Problem{Code: problem.DiskFull, Detail: "The event was not stored: the database's disk is full."}
	case commit.CommitUnknown:
		return &problem.Problem{
			Code:    problem.CommitUnknown,
			Detail:  "The database was lost while storing: the event may be stored. With a dedup_id it is safe to send it again.",
			EventID: a.ID.String(),
		}
	}
	return &problem.Problem{
		Code: problem.Unavailable, Detail: "The event was not stored: the database is out of reach. Send it again shortly.",
	}
}

// unavailable says why nothing of a request was admitted.
func unavailable(err error) *problem.Problem {
	if errors.Is(err, commit.ErrQueueFull) {
		return &problem.Problem{
			Code: problem.QueueFull, Detail: "Nothing was stored: more events are waiting than fit. Send again shortly.",
		}
	}
	return &problem.Problem{Code: problem.Unavailable, Detail: "Nothing was stored: the writer is stopping. Send again."}
}

// refuseUnparsed answers requests that the HTTP parser gave up on. The server closes the connection afterwards.
func (s *Server) refuseUnparsed(ctx *fasthttp.RequestCtx, err error) {
	p := bodyProblem(err)
	if p.Code == problem.BadRequest {
		p.Detail = "The request is not valid HTTP/1.1."
	}
	if serving.IsHeaderTooLarge(err) {
		p = &problem.Problem{Code: problem.HeadersTooLarge, Detail: "The request line and headers are too large."}
	}
	s.refuse(ctx, p)
	s.Metrics.Served(ctx.Response.StatusCode(), 0)
}
