package conformance

import (
	"fmt"
	"strings"
	"testing"

	"keygate/proxy/config"
)

// refusal is a request that is answered before its body has been read.
type refusal struct {
	name   string
	edge   *edge
	line   string
	fields string
	status int
	after  int // the status of an honest request
	least  int // of its body, to be refused
}

func refusals(t *testing.T, up *upstream) []refusal {
	plain := newEdge(t, up.addr())
	small := newEdge(t, up.addr(), func(c *config.Config) { c.Clients.MaxBody = 512 })
	gone := newUpstream(t, echo)
	gone.close()
	alone := newEdge(t, gone.addr())
	const post = "POST /~/early HTTP/1.1|H"
	return []refusal{
		{"no key", plain, post, "", 401, 200, 0},
		{"wrong key", plain, post, "|X-API-Key: wrong", 401, 200, 0},
		{"suspended", plain, post, "|X-API-Key: " + plain.suspended, 403, 200, 0},
		{"two keys", plain, post, "|K|K", 400, 200, 0},
		{"trace", plain, "TRACE /~/early HTTP/1.1|H", "|K", 405, 200, 0},
		{"no path", plain, "POST early HTTP/1.1|H", "|K", 400, 200, 0},
		{"many fields", plain, post, "|K|{200*A: b\r\n}A: b", 431, 200, 0},
		{"large", small, post, "|K", 413, 200, 513},
		{"no upstream", alone, post, "|K", 502, 502, 0},
	}
}

// What is left of a refused body must not be taken for a request, whatever it is made of.
func TestARefusalBeforeTheBodyLeavesNothingBehind(t *testing.T) {
	up := newUpstream(t, echo)
	list := refusals(t, up)
	bodies := map[string]string{
		"1 byte": "x", "8 KiB": "{8192*x}", "8 KiB and 1": "{8193*x}", "1 MiB": "{1048576*x}", "2 requests": "{8192*x}GET /~/smuggled HTTP/1.1|H|K||",
		"request": "GET /~/smuggled HTTP/1.1|H|K||", "600 bytes": "{600*x}",
	}
	for n, r := range list {
		for name, body := range bodies {
			size := len(expand(t, body, r.edge.key, idOf(n)))
			if size < r.least {
				continue
			}
			r.check(t, name, fmt.Sprintf("%s%s|Content-Length: %d||%s", r.line, r.fields, size, body), n)
			r.check(t, name+" in a chunk", fmt.Sprintf("%s%s|Transfer-Encoding: chunked||%x|%s|0||", r.line, r.fields, size, body), n)
		}
	}
	for _, r := range list {
		r.edge.stop()
	}
	up.close()
	for _, n := range up.take() {
		if n.err == nil && !strings.HasSuffix(n.target, "/after") {
			t.Errorf("the upstream saw %.200q", n.raw)
		}
	}
}

func (r *refusal) check(t *testing.T, body, text string, n int) {
	t.Helper()
	name := r.name + ", " + body
	x := &exchange{sent: expand(t, text+"GET /~/after HTTP/1.1|H|K|Connection: close||", r.edge.key, idOf(n))}
	x.perform(t, r.edge.addr, [][]byte{x.sent}, nil)
	first, err := readResponse(x.received, "POST", true)
	if err != nil || first.status != r.status || x.hung {
		t.Errorf("%s: got %d, %v, hangs: %v: %.300q", name, first.status, err, x.hung, x.received)
		return
	}
	rest := x.received[first.size:]
	if first.closes() && len(rest) == 0 {
		return
	}
	second, err := readResponse(rest, "GET", true)
	if err != nil && len(rest) > 0 || err == nil && (second.status != r.after || second.size != len(rest)) {
		t.Errorf("%s: the next request is answered by %.300q, %v", name, rest, err)
	}
	if want := "/" + idOf(n) + "/after [" + org + "]\n"; r.after == 200 && err == nil && second.body != want {
		t.Errorf("%s: the next request is answered by %q", name, second.body)
	}
}

// A close with input unread resets the connection, and the reset may overtake the answer.
func TestASlowUploaderReadsWhyItIsRefused(t *testing.T) {
	up := newUpstream(t, echo)
	e := newEdge(t, up.addr())
	n := newNudge(t, e.addr)
	for i := range slowUploads {
		x := &exchange{sent: expand(t, "POST /~ HTTP/1.1|H|Content-Length: 700000||{700000*x}", "", idOf(i))}
		var parts [][]byte
		for from := 0; from < len(x.sent); from += 64 << 10 {
			parts = append(parts, x.sent[from:min(from+64<<10, len(x.sent))])
		}
		x.perform(t, e.addr, parts, func() { n.once(t) })
		if a, err := readResponse(x.received, "POST", true); err != nil || a.status != 401 || !strings.Contains(a.body, "missing_api_key") {
			t.Fatalf("upload %d reads %q, %v", i, x.received, err)
		}
	}
	n.close()
	e.stop()
	up.close()
}
