package admin

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"mime"
	"net"
	"net/netip"
	"strings"

	"github.com/valyala/fasthttp"

	"keygate/shared/problem"
)

// guard decides who may use the routes that are not open.
type guard struct {
	digest  [sha256.Size]byte
	tokened bool
	local   bool
}

// digestOf makes tokens of all lengths comparable in the same time.
func digestOf(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

// check returns nil if the request may go on.
func (g *guard) check(ctx *fasthttp.RequestCtx) *problem.Problem {
	switch {
	case g.tokened:
		return g.checkToken(&ctx.Request.Header)
	case !g.local:
		return &problem.Problem{Code: problem.NotFound, Detail: "This path exists once an admin token is set (ADMIN_TOKEN " +
			"or --admin-token-file), or when the admin listener is bound to a loopback address or a unix socket; it is " +
			"bound to " + ctx.LocalAddr().String() + "."}
	}
	return checkLocal(ctx)
}

func (g *guard) checkToken(header *fasthttp.RequestHeader) *problem.Problem {
	given := header.PeekAll(fasthttp.HeaderAuthorization)
	if len(given) == 0 {
		return &problem.Problem{Code: problem.MissingAPIKey,
			Detail: "This path wants the admin token, as `Authorization: Bearer` and the value of ADMIN_TOKEN."}
	}
	scheme, token, _ := bytes.Cut(given[0], []byte(" "))
	digest := sha256.Sum256(bytes.TrimSpace(token))
	right := subtle.ConstantTimeCompare(digest[:], g.digest[:]) == 1
	if len(given) > 1 || !bytes.EqualFold(scheme, []byte("Bearer")) || !right {
		return &problem.Problem{Code: problem.InvalidAPIKey, Detail: "This is not the admin token."}
	}
	return nil
}

// checkLocal refuses what a web page can make the browser of somebody on this machine send: a request that names
// where it comes from, one to a name that the page's owner points here, and a POST that needs no preflight.
func checkLocal(ctx *fasthttp.RequestCtx) *problem.Problem {
	header := &ctx.Request.Header
	refused := func(detail string) *problem.Problem {
		detail += " Set an admin token to use this from elsewhere."
		return &problem.Problem{Code: problem.UntrustedCaller, Detail: detail}
	}
	switch {
	case len(header.PeekAll(fasthttp.HeaderOrigin)) > 0:
		return refused("Requests with an Origin are refused here.")
	case foreignSite(header):
		return refused("Requests from other web sites are refused here.")
	case !isLoopbackHost(string(header.Host())):
		return refused("The Host has to be a loopback address or localhost.")
	case header.IsPost() && !isJSON(header.ContentType()):
		return refused("A POST has to be application/json.")
	}
	return nil
}

// foreignSite catches what a page can send without an Origin: GET by an <img>, which would start profiles. Following
// a link to here is somebody's own doing.
func foreignSite(header *fasthttp.RequestHeader) bool {
	site := string(header.Peek("Sec-Fetch-Site"))
	navigates := string(header.Peek("Sec-Fetch-Mode")) == "navigate" && string(header.Peek("Sec-Fetch-Dest")) == "document"
	return site != "" && site != "same-origin" && site != "none" && !navigates
}

// isLocal says whether only this machine can reach a listener: a name such as localhost is judged by what it stood for.
func isLocal(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

func isLoopbackHost(hostport string) bool {
	host := hostport
	if name, _, err := net.SplitHostPort(hostport); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && addr.IsLoopback()
}

func isJSON(contentType []byte) bool {
	media, _, err := mime.ParseMediaType(string(contentType))
	return err == nil && media == mimeJSON
}
