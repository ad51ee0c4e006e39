package server

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/valyala/fasthttp"

	"keygate/shared/problem"
	"keygate/writer/commit"
	"keygate/writer/event"
)

// rejection is the result of an item that was not stored. It is what a problem says of a single event, without what
// belongs to the response as a whole.
type rejection struct {
	Status  string       `json:"status"`
	Code    problem.Code `json:"code"`
	Pointer string       `json:"pointer,omitempty"`
	Detail  string       `json:"detail"`
	EventID string       `json:"event_id,omitempty"`
}

// batch stores the events of one request, each like a single one, and answers for each in its place. Events are decoded
// as they arrive, but none is submitted before all have: a batch that turns out to be malformed, or that is cut off, has
// stored nothing.
func (s *Server) batch(ctx *fasthttp.RequestCtx, who caller, limit int, format event.Format) *problem.Problem {
	if len(ctx.Request.Header.PeekAll(idempotencyKey)) > 0 {
		return &problem.Problem{
			Code: problem.BadRequest, Detail: "A batch takes no " + idempotencyKey + ": give each event a dedup_id of its own.",
		}
	}
	batch := event.NewBatch(format, who.id, who.org)
	if p := s.receive(ctx, who.org, limit, batch); p != nil {
		return p
	}
	items, err := batch.Items()
	if malformed, ok := errors.AsType[*event.Rejection](err); ok {
		return rejected(malformed)
	}
	events := make([]*event.Event, 0, len(items))
	for _, item := range items {
		if item.Event != nil {
			events = append(events, item.Event)
		}
	}
	answers, err := s.Commit.Submit(context.Background(), events)
	if err != nil {
		return unavailable(err)
	}
	ctx.SetContentType("application/json")
	ctx.Response.SetBodyRaw(appendResults(make([]byte, 0, 128*len(items)), items, answers))
	return nil
}

// appendResults writes a result for each item; answers are those of the items that are events.
func appendResults(dst []byte, items []event.Item, answers []commit.Answer) []byte {
	dst = append(dst, `{"results":[`...)
	for i, item := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		if item.Event == nil {
			dst = appendRejection(dst, rejected(item.Rejection))
			continue
		}
		if p := failure(answers[0]); p != nil {
			dst = appendRejection(dst, p)
		} else {
			dst = appendAnswer(dst, answers[0])
		}
		answers = answers[1:]
	}
	return append(dst, "]}\n"...)
}

func appendRejection(dst []byte, p *problem.Problem) []byte {
	text, _ := json.Marshal(rejection{"rejected", p.Code, p.Pointer, p.Detail, p.EventID})
	return append(dst, text...)
}
