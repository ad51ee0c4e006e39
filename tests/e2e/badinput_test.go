package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"keygate/shared/trust"
	"keygate/shared/uuid7"
)

// maxEvent is how large a body these tests' writers take.
const maxEvent = 64 << 10

// afterwards says what has to become of the connection of a refused request.
type afterwards int

const (
	usable   afterwards = iota // the next request on it is served
	closed                     // where the next request would begin is not certain
	whatever                   // the rest of a large body may be read or not
)

// bad sends requests that have to be refused to one address.
type bad struct {
	tb   testing.TB
	addr string
	// trusted are the header lines of whoever may POST to target.
	trusted func(target string) []string
	rows    func() int
}

// post is a request that is believed; further lines come first.
func (b *bad) post(target, media, body string, lines ...string) string {
	lines = append(lines, "Content-Type: "+media)
	return request("POST", target, body, append(lines, b.trusted(target)...)...)
}

// good is a request that is stored.
func (b *bad) good() string { return b.post("/v1/events", "application/json", anEvent) }

// refuses sends text on a connection of its own, wants it to be refused and nothing to be stored, and then sends a good
// request on the same connection.
func (b *bad) refuses(text string, status int, code string, then afterwards) problem {
	b.tb.Helper()
	before := b.rows()
	w := dial(b.tb, b.addr)
	w.send(text)
	method, _, _ := strings.Cut(text, " ")
	got := w.receive(method)
	p := got.refuses(b.tb, status, code)
	if after := b.rows(); after != before {
		b.tb.Errorf("%.200q: %d events were stored", text, after-before)
	}
	announced := strings.EqualFold(got.header.Get("Connection"), "close")
	switch {
	case then == closed:
		if !announced || !w.isClosed() {
			b.tb.Errorf("%.200q: after %d %s the connection stays open", text, status, code)
		}
	case then == whatever && announced:
	case announced:
		b.tb.Errorf("%.200q: after %d %s the connection is closed", text, status, code)
	default:
		w.send(b.good())
		w.receive("POST").wants(b.tb, 201, "accepted")
		if after := b.rows(); after != before+1 {
			b.tb.Errorf("%.200q: the good request after it stored %d events", text, after-before)
		}
	}
	return p
}

// event is a request that would store body if it were believed.
func event(body string, lines ...string) string {
	return request("POST", "/v1/events", body, append(lines, "Content-Type: application/json")...)
}

func TestTheEdgeRefusesBadInput(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.refusesBadInput(t, s.proxy(s.writer("--max-body", fmt.Sprint(maxEvent)).url).addr)
}

// The writer is handed what it would be sent.
func TestStandaloneRefusesBadInput(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	whole := newStandalone(t, t.TempDir(), append(s.env, fmt.Sprint("WRITER_MAX_BODY=", maxEvent))...).start(t)
	s.refusesBadInput(t, whole.proxy)
}

// refusesBadInput sends it to an edge over the stack.
func (s *stack) refusesBadInput(t *testing.T, addr string) {
	good, revoked := s.createKey("acme"), s.createKey("acme")
	run(t, s.keys("revoke", revoked.Prefix))
	key := "X-API-Key: " + good.Key
	b := &bad{t, addr, func(string) []string { return []string{key} }, func() int { return events(t, s.db) }}

	t.Run("without a good key", func(t *testing.T) {
		b := *b
		b.tb = t
		b.refuses(event(anEvent), 401, "missing_api_key", usable)
		b.refuses(request("POST", "/v1/events?api_key="+good.Key+"&x-api-key="+good.Key, anEvent), 401, "missing_api_key", usable)
		b.refuses(event(anEvent, "Authorization: Basic "+good.Key), 401, "missing_api_key", usable)
		for _, wrong := range []string{"", "x", good.Key[:len(good.Key)-1], good.Key + "0", strings.ToUpper(good.Key), " ",
			strings.Repeat("a", 5000), guessed(good.Prefix), unknownKey, revoked.Key} {
			b.refuses(event(anEvent, "X-API-Key: "+wrong), 401, "invalid_api_key", usable)
			b.refuses(event(anEvent, "Authorization: Bearer "+wrong), 401, "invalid_api_key", usable)
		}
		b.refuses(event(anEvent, key, key), 400, "ambiguous_credentials", usable)
		b.refuses(event(anEvent, key, "Authorization: Bearer "+good.Key), 400, "ambiguous_credentials", usable)
		b.refuses(event(anEvent, "Authorization: Bearer "+good.Key, "Authorization: Bearer "+good.Key), 400, "ambiguous_credentials", usable)
		// The body is itself a good request: whoever loses count of bytes would store it.
		b.refuses(event(b.good()), 401, "missing_api_key", usable)
		b.refuses(chunked("POST", "/v1/events", nil, []string{b.good(), b.good()}, nil), 401, "missing_api_key", whatever)
	})
	t.Run("that is no event", func(t *testing.T) {
		b := *b
		b.tb = t
		noEvents(&b)
		b.refuses(request("POST", "/v1/nothing", anEvent, key), 404, "not_found", usable)
		b.refuses(request("POST", "/v1/events/", anEvent, key), 404, "not_found", usable)
		b.refuses(request("GET", "/v1/events", "", key), 405, "method_not_allowed", usable)
		b.refuses(request("PUT", "/v1/events/batch", "[]", key), 405, "method_not_allowed", usable)
		for _, size := range []int{maxEvent + 1, 4 * maxEvent, 4 << 20} {
			body := strings.Repeat(" ", size) + b.good()
			b.refuses(event(body, key), 413, "body_too_large", whatever)
			b.refuses(chunked("POST", "/v1/events", []string{key}, []string{body[:100], body[100:]}, nil), 413, "body_too_large", whatever)
		}
	})
	t.Run("that is no HTTP", func(t *testing.T) {
		b := *b
		b.tb = t
		noHTTP(&b, key)
	})
}

// noEvents sends what is believed, but is not to be stored.
func noEvents(b *bad) {
	b.tb.Helper()
	const single, batch, json = "/v1/events", "/v1/events/batch", "application/json"
	f := func(body string, status int, code, pointer string, lines ...string) {
		b.tb.Helper()
		if p := b.refuses(b.post(single, json, body, lines...), status, code, usable); p.Pointer != pointer {
			b.tb.Errorf("%.200q: the pointer is %q, not %q", body, p.Pointer, pointer)
		}
	}
	for _, body := range []string{"", " ", "{", `{"type":"a","payload":{}}{}`, `{"type":"a","payload":{},}`, "\xff", `{"type":"` + "\xff" + `"}`,
		"type=a", "<event/>", "\xef\xbb\xbf{}"} {
		f(body, 400, "malformed_json", "")
	}
	f(`{"payload":{}}`, 422, "invalid_event", "/type")
	f(`{"type":"","payload":{}}`, 422, "invalid_event", "/type")
	f(`{"type":7,"payload":{}}`, 422, "invalid_event", "/type")
	f(`{"type":"`+strings.Repeat("a", 256)+`","payload":{}}`, 422, "invalid_event", "/type")
	f(`{"type":"a"}`, 422, "invalid_event", "/payload")
	f(`{"type":"a","payload":[]}`, 422, "invalid_event", "/payload")
	f(`{"type":"a","payload":null}`, 422, "invalid_event", "/payload")
	f(`{"type":"a","dedup_id":"","payload":{}}`, 422, "invalid_event", "/dedup_id")
	f(`{"type":"a\u0000b","payload":{}}`, 422, "invalid_event", "/type")
	f(`{"type":"a","payload":{"x":[1,{"y/z":"\u0000"}]}}`, 422, "invalid_event", "/payload/x/1/y~1z")
	f(`{"type":"a","payload":{"x":"\ud800"}}`, 422, "invalid_event", "/payload/x")
	f(`{"type":"a","payload":{"x":"\udc00\ud800"}}`, 422, "invalid_event", "/payload/x")
	f(`{"type":"a","payload":{"x":1e1001}}`, 422, "invalid_event", "/payload/x")
	f(`{"type":"a","payload":`+strings.Repeat(`{"x":`, 70)+`1`+strings.Repeat("}", 70)+`}`, 422, "invalid_event",
		"/payload"+strings.Repeat("/x", 64))
	f(`[]`, 422, "invalid_event", "")
	b.refuses(b.post(single, json, `{"type":"a","type":"b","payload":{}}`), 422, "invalid_event", usable)
	f(`{"type":"a","dedup_id":"x","payload":{}}`, 422, "invalid_event", "/dedup_id", "Idempotency-Key: y")
	for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "application/jsonx", "application/x-ndjson", "json"} {
		b.refuses(b.post(single, media, anEvent), 415, "unsupported_media_type", usable)
	}
	for _, body := range []string{"", "{}", "[]", "[", `[{"type":"a","payload":{}}`, `[{"type":"a","payload":{}}]]`,
		"[" + strings.TrimSuffix(strings.Repeat(`{"type":"a","payload":{}},`, 1001), ",") + "]"} {
		b.refuses(b.post(batch, json, body), 400, "batch_malformed", usable)
	}
	b.refuses(b.post(batch, json, `[{"type":"a","payload":{}}]`, "Idempotency-Key: x"), 400, "bad_request", usable)

	w := dial(b.tb, b.addr)
	w.send(b.post(single, json, `{"type":"a","dedup_id":"taken","payload":{"n":1}}`))
	first := w.receive("POST").wants(b.tb, 201, "accepted")
	for _, other := range []string{`{"type":"a","dedup_id":"taken","payload":{"n":2}}`, `{"type":"b","dedup_id":"taken","payload":{"n":1}}`} {
		if p := b.refuses(b.post(single, json, other), 409, "dedup_conflict", usable); p.EventID != "" && p.EventID != first.ID {
			b.tb.Errorf("the conflict is with %s, not %s", p.EventID, first.ID)
		}
	}
}

// noHTTP sends what two readers could understand differently.
func noHTTP(b *bad, key string) {
	b.tb.Helper()
	lines := func(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }
	const host, length = "Host: api.example.com", "Content-Length: 2"
	post, chunks := "POST /v1/events HTTP/1.1", "Transfer-Encoding: chunked"
	for _, text := range []string{
		lines(post, host, key, length, chunks) + "0\r\n\r\n",
		lines(post, host, key, length, "Content-Length: 3") + "{}",
		lines(post, host, key, length, length) + "{}",
		lines(post, host, key, "Content-Length: +2") + "{}",
		lines(post, host, key, "Transfer-Encoding: gzip, chunked") + "0\r\n\r\n",
		lines(post, host, key, chunks, chunks) + "0\r\n\r\n",
		lines("POST /v1/events HTTP/1.0", host, key, chunks) + "0\r\n\r\n",
		lines(post, key, length) + "{}",
		lines(post, host, host, key, length) + "{}",
		lines(post, "Host: a, b", key, length) + "{}",
		lines(post, host, key, length, " folded: x") + "{}",
		lines(post, host, key, length, "Name : x") + "{}",
		lines(post, host, key, length, "Na me: x") + "{}",
		lines(post, host, key, length, "X-Bare: a\nX-Line: b") + "{}",
		lines(post, host, key, length, "X-Nul: a\x00b") + "{}",
		lines("POST http://other.example.com/v1/events HTTP/1.1", host, key, length) + "{}",
		lines("POST v1/events HTTP/1.1", host, key, length) + "{}",
		lines("PRI * HTTP/2.0") + "SM\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
	} {
		b.refuses(text, 400, "bad_request", closed)
	}
	for _, method := range []string{"CONNECT", "TRACE"} {
		b.refuses(lines(method+" /v1/events HTTP/1.1", host, key), 405, "method_not_allowed", whatever)
	}
	b.refuses(lines("CONNECT api.example.com:443 HTTP/1.1", host, key), 405, "method_not_allowed", whatever)
	b.refuses(lines(post, host, key, length, "X-Large: "+strings.Repeat("x", 70<<10))+"{}", 431, "headers_too_large", closed)
	b.refuses(lines(post, host, key, length, strings.TrimSuffix(strings.Repeat("A: b\r\n", 200), "\r\n"))+"{}", 431, "headers_too_large", closed)
	b.refuses(lines("POST /"+strings.Repeat("x", 70<<10)+" HTTP/1.1", host, key, length)+"{}", 431, "headers_too_large", closed)
	b.refuses(lines(post, host, key, chunks)+"zz\r\n{}\r\n0\r\n\r\n", 400, "bad_request", closed)
	b.refuses(lines(post, host, key, chunks)+"fffffffffffffffff\r\n{}\r\n0\r\n\r\n", 400, "bad_request", closed)
}

func TestTheWriterBelievesNobodyButTheProxy(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	writer := s.writer("--max-body", fmt.Sprint(maxEvent))
	by := func(org string, at time.Time, secret string) []string {
		return vouch(t, org, uuid7.Mint(at), at, secret, "POST", "/v1/events")
	}
	b := &bad{tb: t, addr: writer.addr, rows: func() int { return events(t, s.db) }}
	b.trusted = func(target string) []string {
		return vouch(t, "acme", uuid7.Mint(time.Now()), time.Now(), trustSecret, "POST", target)
	}
	f := func(lines ...string) {
		t.Helper()
		b.refuses(event(anEvent, lines...), 403, "untrusted_caller", usable)
	}
	f()
	f("X-Org-Id: acme")
	f("X-Org-Id: acme", "X-Keygate-Id: "+uuid7.Mint(time.Now()).String())
	f(by("acme", time.Now(), "some secret of somebody else")...)
	f(by("acme", time.Now().Add(-2*time.Minute), trustSecret)...)
	f(by("acme", time.Now().Add(2*time.Minute), trustSecret)...)
	f(vouch(t, "acme", uuid7.Mint(time.Now().Add(-2*time.Minute)), time.Now(), trustSecret, "POST", "/v1/events")...)
	f(vouch(t, "acme", uuid7.Mint(time.Now()), time.Now(), trustSecret, "PUT", "/v1/events")...)
	f(vouch(t, "acme", uuid7.Mint(time.Now()), time.Now(), trustSecret, "POST", "/v1/events/batch")...)
	f(vouch(t, "acme", uuid7.Mint(time.Now()).Item(1), time.Now(), trustSecret, "POST", "/v1/events")...)
	for i, forged := range []string{"X-Org-Id: other", "X-Keygate-Id: " + uuid7.Mint(time.Now()).String(), "X-Org-Signature: t=1,v1=" + strings.Repeat("0", 64)} {
		lines := b.trusted("/v1/events")
		f(append(lines, lines[i])...) // repeated
		f(append(lines, forged)...)   // added
		lines[i] = forged
		f(lines...) // replaced
		f(append(lines[:i:i], lines[i+1:]...)...)
	}
	f(by("", time.Now(), trustSecret)...)
	f(by("a b", time.Now(), trustSecret)...)
	f(by(strings.Repeat("a", 129), time.Now(), trustSecret)...)

	noEvents(b)
	// Whatever is left unread of such a body must not be taken for requests, which is what it is made of.
	for _, size := range []int{maxEvent + 1, 4 * maxEvent, 4 << 20} {
		body := strings.Repeat(" ", size) + b.good()
		b.refuses(b.post("/v1/events", "application/json", body), 413, "body_too_large", whatever)
		b.refuses(chunked("POST", "/v1/events", b.trusted("/v1/events"), []string{body[:100], body[100:]}, nil), 413, "body_too_large", whatever)
	}
	b.refuses(request("POST", "/v1/nothing", anEvent), 404, "not_found", usable)
	b.refuses(request("GET", "/v1/events", ""), 405, "method_not_allowed", usable)
	if got := newClient(t).get(writer.url + "/v1/events"); got.header.Get("Allow") != http.MethodPost {
		t.Errorf("405 allows %q", got.header.Get("Allow"))
	}
}

// vouch are the lines that a proxy adds.
func vouch(tb testing.TB, org string, id uuid7.ID, at time.Time, secret, method, target string) []string {
	tb.Helper()
	secrets, err := trust.Parse(secret)
	if err != nil {
		tb.Fatal(err)
	}
	signature := secrets.AppendSignature(nil, trust.Claim{
		Org: []byte(org), ID: []byte(id.String()), Method: []byte(method), Target: []byte(target),
	}, at)
	return []string{"X-Org-Id: " + org, "X-Keygate-Id: " + id.String(), "X-Org-Signature: " + string(signature)}
}

func TestAProxyMayRefuseLargeBodiesItself(t *testing.T) {
	t.Parallel()
	api := newExistingAPI(t)
	proxy := api.plainProxy("--max-body", "32KiB")
	key := "X-API-Key: " + api.keys[0]
	body := pattern(32<<10 + 1)
	for _, text := range []string{request("POST", "/", body, key), chunked("POST", "/", []string{key}, []string{body}, nil)} {
		w := dial(t, proxy.addr)
		w.send(text)
		w.receive("POST").refuses(t, 413, "body_too_large")
	}
	api.all()
	w := dial(t, proxy.addr)
	w.send(request("POST", "/", body[1:], key))
	w.receive("POST")
	api.forwarded(t, 0, "POST", "/", body[1:])
}
