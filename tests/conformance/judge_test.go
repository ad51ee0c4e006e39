package conformance

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// verdict is what became of a case, without the honest requests around it.
type verdict struct {
	class    string
	statuses []string
	open     bool // an honest request after it, on the same connection, was answered
	unasked  bool // an honest request before it was answered, and the connection closed
}

// The classes of verdicts.
const (
	forwarded = "forwarded" // whole, and answered by the upstream
	refused   = "refused"   // no part of it was seen by the upstream
	mixed     = "mixed"     // some of its requests were forwarded, others refused
	aborted   = "aborted"   // the upstream saw the beginning of it, but no end
	dropped   = "dropped"   // neither forwarded nor answered
	broken    = "broken"    // something that must never happen
	lenient   = "lenient"   // of others: taken although invalid, without misleading the upstream
)

func (v verdict) String() string {
	then := "closed"
	if v.open {
		then = "open"
	}
	return fmt.Sprintf("%-9s %s %s", v.class, cmp.Or(strings.Join(v.statuses, ","), "-"), then)
}

// judge weighs exchanges with one edge.
type judge struct {
	org, key string
	ours     bool // the house's own promises are weighed too, not only those that every proxy should keep
	faults   []string
	breach   bool // one of them is that the upstream was misled
}

func (j *judge) misled(format string, args ...any) {
	j.breach = true
	j.fault("the upstream was "+format, args...)
}

func (j *judge) fault(format string, args ...any) {
	j.faults = append(j.faults, fmt.Sprintf(format, args...))
}

// judge compares what was sent, what came back and what the upstream saw.
func (j *judge) judge(x *exchange, seen []noted) (verdict, []string) {
	j.faults, j.breach = nil, false
	if x.hung {
		j.fault("the connection hangs")
	}
	requests, tail := readAll(x.sent)
	if x.of.severe {
		requests, tail = cutAt(requests, x.from), invalid("severe")
	}
	answers := j.answers(x, requests)
	v := verdict{}
	at, ended, complete := 0, false, 0
	var due []*message // by the upstream
	for i := range requests {
		r := &requests[i]
		last := i == len(requests)-1 && tail != nil
		inside := at >= x.from && at < x.to
		at += r.size
		var a *message
		if i < len(answers) {
			a = &answers[i]
		}
		if ended {
			if a != nil {
				j.fault("answer %d comes after the end of the connection", i)
			}
			v.unasked = v.unasked || inside && len(v.statuses) == 0
			continue
		}
		if a != nil && inside {
			v.statuses = append(v.statuses, strconv.Itoa(a.status))
		}
		switch {
		case last && x.of.lenient:
			ended = true
		case last:
			j.tail(a, tail)
			ended = true
		case a == nil:
			j.fault("request %d, %s %.40s, has no answer", i, r.method, r.target)
			ended = true
		default:
			if j.whole(a, r) {
				due = append(due, r)
				if inside {
					complete++
				}
			}
			ended = r.closes() || a.closes()
			v.open = ended && i == len(requests)-1 && x.to < len(x.sent)
		}
	}
	if len(answers) > len(requests) && !x.of.lenient {
		j.fault("%d answers to %d requests", len(answers), len(requests))
	}
	j.upstream(x, seen, due, tail)
	v.class = j.class(x, v, seen, complete)
	return v, j.faults
}

// cutAt returns the requests up to and with the one that begins at an offset.
func cutAt(requests []message, offset int) []message {
	at := 0
	for i := range requests {
		if at >= offset {
			return requests[:i+1]
		}
		at += requests[i].size
	}
	return requests
}

func (j *judge) class(x *exchange, v verdict, seen []noted, complete int) string {
	begun := slices.ContainsFunc(seen, func(n noted) bool { return n.err != nil })
	if x.of.lenient {
		complete = len(seen)
	}
	refusals := slices.ContainsFunc(v.statuses, func(s string) bool { return s >= "400" })
	switch {
	case j.breach, j.ours && len(j.faults) > 0:
		return broken
	case len(j.faults) > 0:
		return lenient
	case begun:
		return aborted
	case len(v.statuses) == 0:
		return dropped
	case complete > 0 && refusals:
		return mixed
	case complete > 0:
		return forwarded
	}
	return refused
}

// answers reads all that came back. Interim answers are left out.
func (j *judge) answers(x *exchange, requests []message) []message {
	var answers []message
	for rest := x.received; len(rest) > 0; {
		method := "GET"
		if len(answers) < len(requests) {
			method = requests[len(answers)].method
		}
		a, err := readResponse(rest, method, true)
		if err != nil {
			j.fault("answer %d, %.60q: %v", len(answers), rest, err)
			break
		}
		if rest = rest[a.size:]; a.status >= 200 {
			answers = append(answers, a)
		}
	}
	return answers
}

// whole weighs the answer to a request that is valid, and says whether the upstream should have seen it.
func (j *judge) whole(a, r *message) bool {
	status, closes := j.policy(r)
	switch {
	case status == 0 && a.status == 200:
		if want := fmt.Sprintf("%s [%s]\n", r.asks(), j.org); r.method != "HEAD" && a.body != want {
			j.fault("%s %s is answered by %q", r.method, r.target, a.body)
		}
		return true
	case !j.ours:
		return a.status < 400
	case status == 0:
		j.fault("%s %.40s is valid, but answered by %d %s", r.method, r.target, a.status, a.body)
		return false
	case a.status != status:
		j.fault("%s %.40s is answered by %d, not %d", r.method, r.target, a.status, status)
	case closes && !a.closes():
		j.fault("after %d to %s %.40s the connection stays open", a.status, r.method, r.target)
	}
	return status == 0 || a.status == 200
}

// policy is what the house refuses although RFC 9112 allows it. closes says that the connection must end with it.
func (j *judge) policy(r *message) (status int, closes bool) {
	carriers := 0
	valid := false
	for _, f := range r.fields {
		switch name := strings.ToLower(f.name); {
		case name == "x-api-key":
			carriers++
			valid = valid || f.value == j.key
		case name == "authorization":
			scheme, token, _ := strings.Cut(f.value, " ")
			if strings.EqualFold(scheme, "bearer") {
				carriers++
				valid = valid || strings.TrimLeft(token, " ") == j.key
			}
		}
	}
	switch {
	case r.head > 64<<10, len(r.fields) > 128:
		return 431, true
	case strings.EqualFold(r.method, "CONNECT") || strings.EqualFold(r.method, "TRACE"):
		return 405, true
	case r.asks() == "":
		return 400, true
	case r.version == "HTTP/1.1" && slices.ContainsFunc(r.values("expect"), func(e string) bool { return e != "" && !strings.EqualFold(e, "100-continue") }):
		return 417, true
	case carriers == 0:
		return 401, false
	case carriers > 1:
		return 400, false
	case !valid:
		return 401, false
	}
	return 0, false
}

// asks returns the target as it has to arrive: without the host, if that is the one of the Host field (RFC 9112, 3.2.2). It is
// "" for what is no target for a server.
func (m *message) asks() string {
	if m.target[0] == '/' || m.target == "*" && m.method == "OPTIONS" {
		return m.target
	}
	scheme, rest, _ := strings.Cut(m.target, "://")
	hosts := m.values("host")
	if scheme = strings.ToLower(scheme); scheme != "http" && scheme != "https" || len(hosts) == 0 {
		return ""
	}
	end := strings.IndexAny(rest+"/", "/?")
	host, path := rest[:end], rest[end:]
	switch {
	case !strings.EqualFold(host, hosts[0]):
		return ""
	case path == "" && m.method == "OPTIONS":
		return "*"
	case path == "" || path[0] == '?':
		return "/" + path
	}
	return path
}

// tail weighs the answer to what is no request, or not a whole one.
func (j *judge) tail(a *message, why error) {
	switch {
	case a == nil && errors.Is(why, errIncomplete), a == nil && !j.ours:
	case a == nil:
		j.fault("dropped without an answer, because it is %v", why)
	case a.status < 400 || a.status > 505:
		j.fault("answered by %d, although it is %v", a.status, why)
	case !a.closes() && a.status != 401: // what has no key is refused before its body is looked at
		j.fault("answered by %d without closing, although it is %v", a.status, why)
	}
}

// upstream weighs the requests that arrived: those that are due, each as it was sent, with our organisation and no other.
func (j *judge) upstream(x *exchange, seen []noted, due []*message, tail error) {
	var whole []noted
	for _, n := range seen {
		switch {
		case n.err == nil:
			whole = append(whole, n)
			j.secondOpinion(&n)
		case !errors.Is(n.err, errIncomplete):
			j.misled("sent %.200q: %v", n.raw, n.err)
			continue
		case tail == nil:
			j.misled("sent half a request: %.200q", n.raw)
		}
		if n.head > 0 {
			j.identity(&n)
		}
	}
	if x.of.lenient {
		return
	}
	if len(whole) != len(due) {
		j.fault("the upstream saw %d requests, not %d", len(whole), len(due))
		return
	}
	for i := range due {
		j.same(&whole[i], due[i])
	}
}

func (j *judge) identity(n *noted) {
	var orgs, origins []string
	for _, f := range n.fields {
		switch name := fold(f.name); {
		case name == "x-org-id":
			orgs = append(orgs, f.value)
		case !j.ours:
		case name == "forwarded", name == "x-real-ip", strings.HasPrefix(name, "x-forwarded-"):
			origins = append(origins, f.name+": "+f.value)
		case (name == "content-length" || name == "transfer-encoding") && strings.ToLower(f.name) != name:
			j.misled("sent %s, which careless readers take for the framing", f.name)
		case name == "x-api-key", name == "authorization" && strings.Contains(f.value, j.key):
			j.misled("sent the key, as %s", f.name)
		case strings.HasPrefix(name, "x-org-") || strings.HasPrefix(name, "x-keygate-"):
			if f.name != "X-Org-Key" && f.name != "X-Org-Signature" && f.name != "X-Keygate-Id" || len(n.values(strings.ToLower(f.name))) != 1 {
				j.misled("sent %s: %s", f.name, f.value)
			}
		}
	}
	want := []string{"X-Real-IP: 127.0.0.1", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http"}
	for _, host := range n.values("host") {
		want = append(want, "X-Forwarded-Host: "+host)
	}
	if j.ours && !slices.Equal(origins, want) && !slices.Equal(origins, want[:3]) { // HTTP/1.0 knows requests without a host
		j.misled("told the origins %q", origins)
	}
	if !slices.Equal(orgs, []string{j.org}) {
		j.misled("told the organisations %q", orgs)
	}
	if len(n.trailers) > 0 || n.extensions {
		j.misled("sent trailers %q, chunk extensions: %v", n.trailers, n.extensions)
	}
}

// secondOpinion has net/http read what the strict reader took for exactly one request.
func (j *judge) secondOpinion(n *noted) {
	reader := bufio.NewReader(bytes.NewReader(n.raw))
	r, err := http.ReadRequest(reader)
	switch {
	case err != nil && strings.Contains(err.Error(), "invalid URL escape"):
		return // net/http decodes targets, which is not ours to do
	case err != nil:
		j.fault("net/http does not read %.200q: %v", n.raw, err)
		return
	}
	body, err := io.ReadAll(r.Body)
	if rest, _ := io.ReadAll(reader); err != nil || len(rest) > 0 || string(body) != n.body || r.RequestURI != n.target || r.Method != n.method || len(r.Trailer) > 0 {
		j.fault("net/http reads %.200q in another way: %v, rest %q", n.raw, err, rest)
	}
}

// same says what was changed in a request on its way.
func (j *judge) same(got *noted, sent *message) {
	if got.method != sent.method || got.target != sent.asks() || got.body != sent.body {
		j.breach = true
		j.fault("%s %.60s with %d bytes arrives as %s %.60s with %d", sent.method, sent.target, len(sent.body), got.method, got.target, len(got.body))
	}
	if !j.ours {
		return
	}
	want := slices.DeleteFunc(slices.Clone(sent.fields), func(f field) bool { return notForwarded(f, sent) })
	have := slices.DeleteFunc(slices.Clone(got.fields), func(f field) bool { return notForwarded(f, &message{}) })
	if len(sent.values("host")) == 0 { // then it has to be added for HTTP/1.1
		have = slices.DeleteFunc(have, func(f field) bool { return f.name == "Host" })
	}
	if !slices.Equal(have, want) {
		j.fault("the fields %q arrive as %q", want, have)
	}
}

// notForwarded says which fields do not pass: those of the connection, identities, credentials, what a careless reader
// would take for the framing or the origin, and the request id, which may be replaced.
func notForwarded(f field, of *message) bool {
	lower, folded := strings.ToLower(f.name), fold(f.name)
	switch folded {
	case "content-length", "transfer-encoding", "x-api-key", "forwarded", "x-real-ip":
		return true
	case "authorization":
		scheme, _, _ := strings.Cut(f.value, " ")
		return lower != folded || strings.EqualFold(scheme, "bearer")
	}
	switch lower {
	case "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer",
		"http2-settings", "expect", "upgrade", "x-request-id":
		return true
	}
	return strings.HasPrefix(folded, "x-org-") || strings.HasPrefix(folded, "x-forwarded-") || strings.HasPrefix(folded, "x-keygate-") ||
		lower != "host" && slices.Contains(of.tokens("connection"), lower)
}
