// Package invalidate is the operator's way to make every proxy go back to the truth, and to see what each tier holds.
// It is called by whatever changes keys.
package invalidate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/proxy/auth"
	"keygate/shared/admin"
	"keygate/shared/problem"
)

// Local is this proxy's own resolver.
type Local interface {
	// Changed removes the copies in scope and evicts them from the shared cache as soon as that can be reached.
	Changed(auth.Change)
	Explain(ctx context.Context, prefix string) auth.Explanation
}

// Config is what an Endpoint needs. Fleet is nil without a shared cache; Directory is nil unless the keys are in our
// own tables.
type Config struct {
	Local Local
	// IsKey says whether somebody has given a whole key for its prefix. It would find nothing to remove, and whoever sent
	// it would think it gone; nor is it to be repeated by a page, or sent to the tiers.
	IsKey     func(text string) bool
	Fleet     auth.Fleet
	Directory auth.Directory
	Logger    *slog.Logger
	Metrics   *auth.Metrics
}

// Endpoint answers invalidations. Safe for concurrent use.
type Endpoint struct{ Config }

// New returns an Endpoint.
func New(cfg Config) *Endpoint { return &Endpoint{cfg} }

const (
	// MaxPrefixes bounds one request: more are better served by {"all":true}.
	MaxPrefixes = 10_000
	// maxPrefix is the longest presented key, and so the longest prefix.
	maxPrefix = 512
	// patience is how long to wait for other proxies. A living one confirms within milliseconds.
	patience = 250 * time.Millisecond
)

// Report says what an invalidation has reached. Once Complete, the next request anywhere goes back to the truth.
type Report struct {
	Invalidated int     `json:"invalidated"` // prefixes named
	Confirmed   int     `json:"confirmed"`   // proxies whose copies are gone
	Proxies     *int    `json:"proxies"`     // proxies alive; null when the shared cache is out of reach
	Complete    bool    `json:"complete"`
	TookMS      float64 `json:"took_ms"`
}

// Invalidate removes scope everywhere. The copy of this proxy is gone in any case.
func (e *Endpoint) Invalidate(ctx context.Context, scope auth.Scope) Report {
	start := time.Now()
	e.Local.Changed(auth.Change{Verb: auth.Remove, Scope: scope})
	report := Report{Invalidated: len(scope.Prefixes), Confirmed: 1}
	receipt, err := e.reach(ctx, scope)
	if err != nil {
		e.Logger.Warn("an invalidation is not confirmed: the shared cache is out of reach", "error", err)
	} else {
		report.Confirmed, report.Proxies = receipt.Confirmed, &receipt.Proxies
		report.Complete = receipt.Confirmed >= receipt.Proxies
	}
	took := time.Since(start)
	report.TookMS = float64(took.Microseconds()) / 1000
	if report.Complete {
		e.Metrics.Invalidated(took, scope)
	}
	return report
}

func (e *Endpoint) reach(ctx context.Context, scope auth.Scope) (auth.Receipt, error) {
	if e.Fleet == nil {
		return auth.Receipt{Confirmed: 1, Proxies: 1}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return e.Fleet.Invalidate(ctx, scope)
}

// request is the body of POST /v1/cache/invalidate.
type request struct {
	Prefixes []string `json:"prefixes"`
	OrgID    *string  `json:"org_id"`
	All      bool     `json:"all"`
}

// Post serves POST /v1/cache/invalidate.
func (e *Endpoint) Post(ctx *fasthttp.RequestCtx) {
	var req request
	decoder := json.NewDecoder(bytes.NewReader(ctx.PostBody()))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&req); err != nil || decoder.Decode(new(any)) != io.EOF {
		refuse(ctx, problem.MalformedJSON, usage, "")
		return
	}
	if detail := e.check(&req); detail != "" {
		refuse(ctx, problem.BadRequest, detail, "")
		return
	}
	if req.OrgID != nil {
		e.postOrganization(ctx, *req.OrgID)
		return
	}
	answer(ctx, e.Invalidate(ctx, auth.Scope{Prefixes: req.Prefixes, All: req.All}))
}

const usage = `Send exactly one of {"prefixes":["…"]}, {"org_id":"…"} or {"all":true}.`

const wholeKey = "That is a whole key. Send its prefix alone, which is not secret."

// check returns what is wrong with a request, in words for the client; "" if nothing is.
func (e *Endpoint) check(r *request) string {
	given := 0
	for _, g := range [...]bool{len(r.Prefixes) > 0, r.OrgID != nil, r.All} {
		if g {
			given++
		}
	}
	switch {
	case given != 1:
		return usage
	case len(r.Prefixes) > MaxPrefixes:
		return fmt.Sprintf(`At most %d prefixes fit one request: send several, or {"all":true}.`, MaxPrefixes)
	}
	for i, prefix := range r.Prefixes {
		if prefix == "" || len(prefix) > maxPrefix {
			return fmt.Sprintf("Prefix %d is not 1 to %d bytes long.", i, maxPrefix)
		}
		if e.IsKey(prefix) {
			return fmt.Sprintf("Prefix %d: %s", i, wholeKey)
		}
	}
	return ""
}

func (e *Endpoint) postOrganization(ctx *fasthttp.RequestCtx, orgID string) {
	if e.Directory == nil {
		refuse(ctx, problem.InvalidEvent,
			"The keys come from --key-query, which cannot list an organization's keys: send their prefixes.", "/org_id")
		return
	}
	prefixes, err := e.Directory.Prefixes(ctx, orgID)
	switch {
	case errors.Is(err, auth.ErrNoOrganization):
		refuse(ctx, problem.NotFound, "There is no organization with that id.", "/org_id")
	case err != nil:
		e.Logger.Warn("listing an organization's keys", "error", err)
		refuse(ctx, problem.Unavailable, "The organization's keys cannot be listed at the moment. Try again shortly.", "")
	default:
		answer(ctx, e.Invalidate(ctx, auth.Scope{Prefixes: prefixes}))
	}
}

// Routes tells an admin listener what is served here.
func (e *Endpoint) Routes(handle func(method, pattern string, handler fasthttp.RequestHandler)) {
	handle(fasthttp.MethodPost, "/v1/cache/invalidate", e.Post)
	handle(fasthttp.MethodGet, KeysPath, e.Get)
	handle(fasthttp.MethodDelete, KeysPath, e.Delete)
}

// KeysPath is where single keys are explained and invalidated; the prefix follows.
const KeysPath = "/v1/cache/keys/"

// Delete serves DELETE /v1/cache/keys/{prefix}.
func (e *Endpoint) Delete(ctx *fasthttp.RequestCtx) {
	if prefix, ok := e.prefixOf(ctx); ok {
		answer(ctx, e.Invalidate(ctx, auth.Scope{Prefixes: []string{prefix}}))
	}
}

// Get serves GET /v1/cache/keys/{prefix}.
func (e *Endpoint) Get(ctx *fasthttp.RequestCtx) {
	if prefix, ok := e.prefixOf(ctx); ok {
		explainCtx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		answer(ctx, e.Local.Explain(explainCtx, prefix))
	}
}

func (e *Endpoint) prefixOf(ctx *fasthttp.RequestCtx) (string, bool) {
	prefix := admin.Rest(ctx)
	if prefix == "" || len(prefix) > maxPrefix {
		refuse(ctx, problem.NotFound, "Name a key's prefix: "+KeysPath+"<prefix>.", "")
		return "", false
	}
	if e.IsKey(prefix) {
		refuse(ctx, problem.BadRequest, wholeKey, "")
		return "", false
	}
	return prefix, true
}

func answer(ctx *fasthttp.RequestCtx, value any) {
	text, _ := json.Marshal(value)
	ctx.SetContentType("application/json")
	ctx.SetBody(append(text, '\n'))
}

func refuse(ctx *fasthttp.RequestCtx, code problem.Code, detail, pointer string) {
	problem.Problem{Code: code, Detail: detail, Pointer: pointer}.Write(&ctx.Response)
}
