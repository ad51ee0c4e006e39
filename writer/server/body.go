package server

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/valyala/fasthttp"

	"keygate/shared/problem"
	"keygate/shared/serving"
	"keygate/writer/commit"
	"keygate/writer/event"
)

// Bodies are read in pieces of this size. A body that fits into two is not counted as one that arrives: it holds hardly
// more than its connection does.
const pieceSize = 32 << 10

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// receive writes the body to dst, piece by piece as it comes: limit bytes at most, and of all bodies that are on their
// way no more than there is room for. What it refuses closes the connection, because the rest stays unread.
func (s *Server) receive(ctx *fasthttp.RequestCtx, org string, limit int, dst io.Writer) *problem.Problem {
	length := ctx.Request.Header.ContentLength()
	if length > limit {
		ctx.SetConnectionClose()
		return tooLarge(limit)
	}
	stream := ctx.RequestBodyStream()
	if stream == nil {
		_, _ = dst.Write(ctx.Request.Body()) // to memory
		return nil
	}
	total, err := s.copyBody(dst, stream, org, limit)
	switch {
	case total > limit:
		ctx.SetConnectionClose()
		return tooLarge(limit)
	case err == nil && total < length:
		err = io.ErrUnexpectedEOF // which the HTTP library does not tell from an end
	}
	if err != nil {
		ctx.SetConnectionClose()
		return bodyProblem(err)
	}
	return nil
}

// copyBody returns how many bytes it has read: one more than limit, if there are more.
func (s *Server) copyBody(dst io.Writer, stream io.Reader, org string, limit int) (total int, err error) {
	held := 0
	defer func() {
		if held > 0 {
			s.arrivals.give(org, held)
		}
	}()
	piece := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(piece)
	for stream = io.LimitReader(stream, int64(limit)+1); ; {
		n, err := stream.Read(piece[:])
		if total += n; total > 2*pieceSize {
			if !s.arrivals.take(org, total-held) {
				return total, commit.ErrQueueFull
			}
			held = total
		}
		_, _ = dst.Write(piece[:n]) // to memory
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

func tooLarge(limit int) *problem.Problem {
	return &problem.Problem{
		Code: problem.BodyTooLarge, Detail: fmt.Sprintf("The body may have at most %d bytes.", limit),
	}
}

func bodyProblem(err error) *problem.Problem {
	switch {
	case errors.Is(err, commit.ErrQueueFull):
		return unavailable(err)
	case serving.IsTimeout(err):
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
