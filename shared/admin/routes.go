package admin

import (
	"errors"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"keygate/shared/problem"
	"keygate/shared/serving"
)

// route is what one path, or all paths below one, offers.
type route struct {
	pattern string
	open    bool // to callers that the guard would refuse
	methods map[string]fasthttp.RequestHandler
}

func (r *route) allow() string {
	var methods []string
	for method := range r.methods {
		methods = append(methods, method)
	}
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}

// routes are found by path; a pattern that ends in a slash stands for all paths below it.
type routes struct {
	exact map[string]*route
	below []*route
}

func (r *routes) add(method, pattern string, open bool, handler fasthttp.RequestHandler) {
	known := r.find(pattern)
	if known == nil || known.pattern != pattern {
		known = &route{pattern: pattern, open: open, methods: map[string]fasthttp.RequestHandler{}}
		if strings.HasSuffix(pattern, "/") && pattern != "/" {
			r.below = append(r.below, known)
		} else {
			if r.exact == nil {
				r.exact = map[string]*route{}
			}
			r.exact[pattern] = known
		}
	}
	known.methods[method] = handler
}

func (r *routes) find(path string) *route {
	if exact := r.exact[path]; exact != nil {
		return exact
	}
	for _, route := range r.below {
		if strings.HasPrefix(path, route.pattern) {
			return route
		}
	}
	return nil
}

// restKey is where a handler's Rest is kept. Its type keeps it apart from everybody's own.
type restKey struct{}

// Handle adds a route behind the guard. A pattern that ends in a slash stands for all paths below it, the handler
// finding by Rest which. HEAD comes with GET. It is called before Run.
func (s *Server) Handle(method, pattern string, handler fasthttp.RequestHandler) {
	s.routes.add(method, pattern, false, handler)
}

// Rest is the part of the path below the handler's pattern, percent-decoded and otherwise as sent.
func Rest(ctx *fasthttp.RequestCtx) string {
	rest, _ := ctx.UserValue(restKey{}).(string)
	return rest
}

func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	defer s.survive(ctx)
	s.dispatch(ctx)
	ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
}

func (s *Server) dispatch(ctx *fasthttp.RequestCtx) {
	path, err := url.PathUnescape(string(ctx.URI().PathOriginal()))
	if err != nil {
		refuse(ctx, problem.BadRequest, "The path is not percent-encoded as it should be.")
		return
	}
	route := s.routes.find(path)
	if route == nil {
		refuse(ctx, problem.NotFound, "The admin listener has no such path.")
		return
	}
	if !route.open {
		if refusal := s.guard.check(ctx); refusal != nil {
			refusal.Write(&ctx.Response)
			return
		}
	}
	handler := route.methods[string(ctx.Method())]
	if handler == nil && ctx.IsHead() {
		handler = route.methods[fasthttp.MethodGet]
	}
	if handler == nil {
		refuse(ctx, problem.MethodNotAllowed, "This path takes "+route.allow()+".")
		ctx.Response.Header.Set(fasthttp.HeaderAllow, route.allow())
		return
	}
	ctx.SetUserValue(restKey{}, strings.TrimPrefix(path, route.pattern))
	handler(ctx)
	if !ctx.IsGet() && !ctx.IsHead() {
		s.audit(ctx, route)
	}
}

// audit notes what may have changed something. The pattern is logged and not the path, in which somebody may have put
// a whole key.
func (s *Server) audit(ctx *fasthttp.RequestCtx, route *route) {
	s.config.Logger.Info("admin request", "method", string(ctx.Method()), "route", route.pattern,
		"status", ctx.Response.StatusCode(), "remote", ctx.RemoteAddr().String())
}

func (s *Server) survive(ctx *fasthttp.RequestCtx) {
	cause := recover()
	if cause == nil {
		return
	}
	s.config.Logger.Error("admin handler panicked", "cause", cause, "stack", string(debug.Stack()))
	refuse(ctx, problem.Unavailable, "This did not work out; the log says more.")
}

func refuse(ctx *fasthttp.RequestCtx, code problem.Code, detail string) {
	problem.Problem{Code: code, Detail: detail}.Write(&ctx.Response)
}

// refuseMalformed answers what fasthttp could not read as a request. It quotes nothing of it.
func refuseMalformed(ctx *fasthttp.RequestCtx, err error) {
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		refuse(ctx, problem.BodyTooLarge, "The admin listener takes bodies of 4 MiB.")
	case serving.IsHeaderTooLarge(err):
		refuse(ctx, problem.HeadersTooLarge, "The admin listener takes 8 KiB of headers.")
	case serving.IsTimeout(err):
		refuse(ctx, problem.RequestTimeout, "The request did not arrive within ten seconds.")
	default:
		refuse(ctx, problem.BadRequest, "This is no HTTP/1.1 request that can be understood.")
	}
	ctx.SetConnectionClose()
}
