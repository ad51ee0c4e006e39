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

// The status page holds no figures: it asks /readyz and /v1/stats each second and shows any JSON, going by a few
// conventions, which Snapshot keeps.
//
// The members of Stats become cards, those that begin with the same word share one, and objects of objects become
// tables. The end of a member's name says what the numbers in it are: _total is counted up since the start and also
// shown as a rate, _ratio is a share from 0 to 1, _ms, _seconds and _bytes are what they say. An object that counts
// `hit` gets a hit rate, hits and negatives among all, of the last ten seconds. A text named state is coloured: up, ok
// and closed are good, down and open bad, others in between. uptime_seconds stands in the page's head.
//
// Config.Headline names what stands at the top, with its course over the last two minutes: a number; an object that
// counts `hit`, for its hit rate; or another object of counts, for their sum.
var (
	//go:embed status.html
	statusHTML string
	//go:embed status.css
	statusCSS string
	//go:embed status.js
	statusJS string
)

// page is the status page of one program and the policy that lets nothing but itself run in it.
type page struct {
	html   []byte
	policy string
}

func newPage(program string, headline []string) page {
	paths, _ := json.Marshal(append([]string{}, headline...))
	filled := strings.NewReplacer(
		"{program}", html.EscapeString(program), "{headline}", html.EscapeString(string(paths)),
		"{style}", statusCSS, "{script}", statusJS,
	).Replace(statusHTML)
	return page{
		html: []byte(filled),
		policy: "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; " +
			"frame-ancestors 'none'; script-src " + sourceOf(statusJS) + "; style-src " + sourceOf(statusCSS),
	}
}

// sourceOf names an inline script or style in a content security policy.
func sourceOf(text string) string {
	sum := sha256.Sum256([]byte(text))
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
