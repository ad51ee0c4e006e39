package conformance

import (
	"errors"
	"strings"
	"testing"
)

func TestTheReaderForgivesNothing(t *testing.T) {
	f := func(text string, want error) {
		t.Helper()
		if _, err := readRequest(expand(t, text, "k", idOf(1))); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", text, err, want)
		}
	}
	f("GET /~ HTTP/1.1|H||", nil)
	f("POST /~ HTTP/1.1|H|Transfer-Encoding: chunked||3;a=\"b\"|abc|0|A: b||", nil)
	f("GET /~ HTTP/1.1|H|", errIncomplete)
	f("POST /~ HTTP/1.1|H|Content-Length: 4||abc", errIncomplete)
	f("POST /~ HTTP/1.1|H|Transfer-Encoding: chunked||3|abc|0|", errIncomplete)
	for _, c := range parseCases(t, "requests.txt") {
		if c.lenient {
			if _, tail := readAll(expand(t, c.text, "k", idOf(1))); tail == nil {
				t.Errorf("%s is called lenient, but is valid", c.name)
			}
		}
		if strings.HasPrefix(c.name, "honest/") {
			if _, tail := readAll(expand(t, c.text, "k", idOf(1))); tail != nil {
				t.Errorf("%s is no honest request: %v", c.name, tail)
			}
		}
	}
}

// What the upstream is made to see here must never be seen, so the judge has to object.
func TestTheJudgeObjects(t *testing.T) {
	const key = "k"
	good := "Host: edge.test|X-Org-Id: " + org + "|X-Org-Key: p|X-Keygate-Id: 1|X-Org-Signature: s|" +
		"X-Real-IP: 127.0.0.1|X-Forwarded-For: 127.0.0.1|X-Forwarded-Proto: http|X-Forwarded-Host: edge.test|"
	f := func(name, upstreamSees, clientGets, fault string) {
		t.Helper()
		x := &exchange{id: idOf(1), sent: expand(t, "GET /~ HTTP/1.1|H|K|Connection: close||", key, idOf(1))}
		x.to = len(x.sent)
		x.received = expand(t, clientGets, key, idOf(1))
		var seen []noted
		for rest := expand(t, upstreamSees, key, idOf(1)); len(rest) > 0; {
			m, err := readRequest(rest)
			size := m.size
			if err != nil {
				size = len(rest)
			}
			seen = append(seen, noted{m, rest[:size], err})
			rest = rest[size:]
		}
		j := judge{org: org, key: key, ours: true}
		v, faults := j.judge(x, seen)
		if said := strings.Join(faults, "\n"); fault == "" && said != "" || !strings.Contains(said, fault) {
			t.Errorf("%s: the judge says %v %q, not %q", name, v, faults, fault)
		}
	}
	answer := "HTTP/1.1 200 OK|Content-Length: {#}||/~ [" + org + "]\\n"
	f("as it should be", "GET /~ HTTP/1.1|"+good+"|", answer, "")
	f("no organisation", "GET /~ HTTP/1.1|Host: edge.test||", answer, "organisations")
	f("two organisations", "GET /~ HTTP/1.1|"+good+"X_Org_Id: evil||", answer, "organisations")
	f("another organisation", "GET /~ HTTP/1.1|Host: edge.test|X-Org-Id: evil||", answer, "organisations")
	f("two origins", "GET /~ HTTP/1.1|"+good+"x_forwarded_for: 6.6.6.6||", answer, "origins")
	f("another origin", "GET /~ HTTP/1.1|"+strings.Replace(good, "For: 127.0.0.1", "For: 6.6.6.6", 1)+"|", answer, "origins")
	f("two requests", "GET /~ HTTP/1.1|"+good+"|GET /~/2 HTTP/1.1|"+good+"|", answer, "saw 2 requests")
	f("another path", "GET /~/ HTTP/1.1|"+good+"|", answer, "arrives as")
	f("a field lost", "GET /~ HTTP/1.1|X-Org-Id: "+org+"|Host: other||", answer, "arrive as")
	f("the key", "GET /~ HTTP/1.1|"+good+"X-API-Key: k||", answer, "key")
	f("a trailer", "GET /~ HTTP/1.1|"+good+"Transfer-Encoding: chunked||0|A: b||", answer, "trailers")
	f("framing in another spelling", "GET /~ HTTP/1.1|"+good+"Content_Length: 3||", answer, "careless")
	f("half a request", "GET /~ HTTP/1.1|"+good, answer, "half a request")
	f("bare LF", "GET /~ HTTP/1.1\\n"+good+"|", answer, "bare LF")
	f("two answers", "GET /~ HTTP/1.1|"+good+"|", answer+"HTTP/1.1 200 OK|Content-Length: 0||", "answer")
	f("another's answer", "GET /~ HTTP/1.1|"+good+"|", "HTTP/1.1 200 OK|Content-Length: {#}||/other ["+org+"]\\n", "answered by")
	f("no answer", "GET /~ HTTP/1.1|"+good+"|", "", "no answer")
}
