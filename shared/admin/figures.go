package admin

import (
	"bytes"
	"encoding/json"
	"os"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"
	"github.com/valyala/fasthttp/pprofhandler"
)

// maxScrapes is how many collections of the metrics may go on at once; more are told to come again.
const maxScrapes = 4

const mimeJSON = "application/json"

func (s *Server) addOpenRoutes() {
	open := func(path string, handler fasthttp.RequestHandler) {
		s.routes.add(fasthttp.MethodGet, path, true, handler)
	}
	open("/healthz", func(ctx *fasthttp.RequestCtx) { writeJSON(ctx, map[string]string{"status": "ok"}) })
	open("/readyz", s.ready)
	open("/version", func(ctx *fasthttp.RequestCtx) { writeJSON(ctx, s.config.Build) })
	open("/metrics", fasthttpadaptor.NewFastHTTPHandler(promhttp.HandlerFor(s.config.Gatherer, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes, ErrorHandling: promhttp.ContinueOnError, EnableOpenMetrics: true,
	})))
}

func (s *Server) addFigures() {
	s.Handle(fasthttp.MethodGet, "/v1/stats", func(ctx *fasthttp.RequestCtx) { writeJSON(ctx, s.config.Stats()) })
	s.Handle(fasthttp.MethodGet, "/debug/pprof/", profiles)
	s.Handle(fasthttp.MethodPost, "/debug/pprof/symbol", pprofhandler.PprofHandler)
	s.Handle(fasthttp.MethodGet, "/debug/pprof/symbol", pprofhandler.PprofHandler)
	s.Handle(fasthttp.MethodGet, "/debug/pprof", func(ctx *fasthttp.RequestCtx) {
		ctx.Redirect("/debug/pprof/", fasthttp.StatusFound)
	})
	s.addStatusPage()
}

// profiles leaves the arguments out of the command line: a URL with a password may be among them.
func profiles(ctx *fasthttp.RequestCtx) {
	if bytes.HasPrefix(ctx.Path(), []byte("/debug/pprof/cmdline")) {
		ctx.SetBodyString(os.Args[0])
		return
	}
	pprofhandler.PprofHandler(ctx)
}

// readiness is the body of /readyz.
type readiness struct {
	Status   string   `json:"status"`
	Degraded []string `json:"degraded"`
}

func (s *Server) ready(ctx *fasthttp.RequestCtx) {
	ok, degraded := s.config.Ready()
	answer := readiness{Status: "ready", Degraded: append([]string{}, degraded...)}
	if !ok {
		answer.Status = "not ready"
		ctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
	}
	writeJSON(ctx, answer)
}

// writeJSON answers with v. What cannot be written is a mistake in the program, which survive reports.
func writeJSON(ctx *fasthttp.RequestCtx, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	ctx.SetContentType(mimeJSON)
	ctx.SetBody(text)
}
