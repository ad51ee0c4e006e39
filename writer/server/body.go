package server

import (
	"fmt"
	"io"

	"github.com/valyala/bytebufferpool"
	"github.com/valyala/fasthttp"

	"keygate/shared/problem"
	"keygate/shared/serving"
	"keygate/writer/event"
)

// body is a request's body, read whole. The decoder copies what it keeps.
type body struct {
	bytes  []byte
	buffer *bytebufferpool.ByteBuffer // nil if the bytes are the request's own
}

func (b body) release() {
	if b.buffer != nil {
		bytebufferpool.Put(b.buffer)
	}
}

// readBody reads at most limit bytes. What it refuses closes the connection, because the rest stays unread.
func readBody(ctx *fasthttp.RequestCtx, limit int) (body, *problem.Problem) {
	if ctx.Request.Header.ContentLength() > limit {
		ctx.SetConnectionClose()
		return body{}, tooLarge(limit)
	}
	stream := ctx.RequestBodyStream()
	if stream == nil {
		return body{bytes: ctx.Request.Body()}, nil
	}
	buffer := bytebufferpool.Get()
	n, err := buffer.ReadFrom(io.LimitReader(stream, int64(limit)+1))
	switch {
	case err != nil:
		bytebufferpool.Put(buffer)
		ctx.SetConnectionClose()
		return body{}, bodyProblem(err)
	case n > int64(limit):
		bytebufferpool.Put(buffer)
		ctx.SetConnectionClose()
		return body{}, tooLarge(limit)
	}
	return body{buffer.B, buffer}, nil
}

func tooLarge(limit int) *problem.Problem {
	return &problem.Problem{
		Code: problem.BodyTooLarge, Detail: fmt.Sprintf("The body may have at most %d bytes.", limit),
	}
}

func bodyProblem(err error) *problem.Problem {
	if serving.IsTimeout(err) {
		return &problem.Problem{Code: problem.RequestTimeout, Detail: "The body did not arrive in time."}
	}
	return &problem.Problem{Code: problem.BadRequest, Detail: "The body ended early or its chunks were malformed."}
}

var rejections = map[event.Kind]problem.Code{
	event.Malformed:      problem.MalformedJSON,
	event.Invalid:        problem.InvalidEvent,
	event.BatchMalformed: problem.BatchMalformed,
}

func rejected(r *event.Rejection) *problem.Problem {
	return &problem.Problem{Code: rejections[r.Kind], Detail: r.Detail, Pointer: r.Pointer}
}
