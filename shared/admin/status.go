package admin

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html"
	"strings"

	"github.com/valyala/fasthttp"
)

// statusHTML is the status page. It holds no figures: it asks /readyz and /v1/stats each second and shows any JSON,
// going by a few conventions.
//
// The members of Stats that are objects become cards, and objects or lists of objects within them tables. The end of a
// name says what a number is: _total is counted up since the start and also shown as a rate, _ratio is a share from 0 to
// 1, _ms, _seconds and _bytes are what they say. An object with hits_total and misses_total gets a hit rate, that of the
// last ten seconds. A text named state is coloured: up, ok and closed are good, down and open bad, others in between.
// Config.Headline names what stands at the top with its course over the last two minutes; where it names an object with
// hits and misses, that is the hit rate.
//
//go:embed status.html
var statusHTML []byte

// page is the status page of one program and the policy that lets nothing but itself run in it.
type page struct {
	html   []byte
	policy string
}

func newPage(program string, headline []string) page {
	paths, _ := json.Marshal(append([]string{}, headline...))
	filled := strings.NewReplacer(
		"{program}", html.EscapeString(program), "{headline}", html.EscapeString(string(paths)),
	).Replace(string(statusHTML))
	return page{
		html: []byte(filled),
		policy: "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; " +
			"frame-ancestors 'none'; script-src " + digestBetween(filled, "<script>", "</script>") +
			"; style-src " + digestBetween(filled, "<style>", "</style>"),
	}
}

// digestBetween names the text between two tags in a content security policy.
func digestBetween(text, open, end string) string {
	_, rest, _ := strings.Cut(text, open)
	inside, _, _ := strings.Cut(rest, end)
	sum := sha256.Sum256([]byte(inside))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func (s *Server) addStatusPage() {
	page := newPage(s.config.Program, s.config.Headline)
	s.routes.add(fasthttp.MethodGet, "/", true, func(ctx *fasthttp.RequestCtx) {
		if refusal := s.guard.check(ctx); refusal != nil {
			refusal.Write(&ctx.Response)
			// A browser cannot bring the token along, so it gets the page with its 401. The page asks for it.
			if !s.guard.tokened || !bytes.Contains(ctx.Request.Header.Peek(fasthttp.HeaderAccept), []byte("text/html")) {
				return
			}
		}
		ctx.SetContentType("text/html; charset=utf-8")
		ctx.Response.Header.Set(fasthttp.HeaderContentSecurityPolicy, page.policy)
		ctx.Response.Header.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
		ctx.Response.Header.Set(fasthttp.HeaderReferrerPolicy, "no-referrer")
		ctx.SetBody(page.html)
	})
}
