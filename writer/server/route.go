package server

import (
	"bytes"

	"github.com/valyala/fasthttp"

	"keygate/shared/problem"
	"keygate/writer/event"
)

// route is one of the two things that the writer does.
type route struct{ batch bool }

const (
	singlePath = "/v1/events"
	batchPath  = "/v1/events/batch"
)

func find(ctx *fasthttp.RequestCtx) (route, *problem.Problem) {
	path, _, _ := bytes.Cut(ctx.Request.Header.RequestURI(), []byte("?"))
	var r route
	switch string(path) {
	case singlePath:
	case batchPath:
		r.batch = true
	default:
		return r, &problem.Problem{
			Code: problem.NotFound, Detail: "POST one event to " + singlePath + ", or several to " + batchPath + ".",
		}
	}
	if !ctx.IsPost() {
		return r, &problem.Problem{Code: problem.MethodNotAllowed, Detail: "Events are sent with POST."}
	}
	return r, nil
}

// limit is the largest body in bytes.
func (r route) limit(configured int) int {
	if r.batch {
		return min(configured, event.MaxBatchBody)
	}
	return configured
}

// format says how the body is to be read. No content type means JSON.
func (r route) format(contentType []byte) (event.Format, *problem.Problem) {
	media, _, _ := bytes.Cut(contentType, []byte(";"))
	media = bytes.ToLower(bytes.TrimSpace(media))
	switch {
	case len(media) == 0, string(media) == "application/json", bytes.HasSuffix(media, []byte("+json")):
		return event.Array, nil
	case r.batch && string(media) == "application/x-ndjson":
		return event.Lines, nil
	}
	detail := "Send the event as application/json."
	if r.batch {
		detail = "Send the events as application/json, or one a line as application/x-ndjson."
	}
	return 0, &problem.Problem{Code: problem.UnsupportedMediaType, Detail: detail}
}
