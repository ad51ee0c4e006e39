package conformance

import (
	"fmt"
	"strings"
)

// mutated are the fields whose misreading would be worst, each in a request that hides another one behind it.
var mutated = []struct{ label, name, value, before, after string }{
	{"te", "Transfer-Encoding", "chunked", "POST /~ HTTP/1.1|H|K|", "|Content-Length: {#}||0||GET /~/smuggled HTTP/1.1|H|K||"},
	{"cl", "Content-Length", "3", "POST /~ HTTP/1.1|H|K|", "|Transfer-Encoding: chunked||0||GET /~/second HTTP/1.1|H|K||"},
	{"org", "X-Org-Id", "evil", "GET /~ HTTP/1.1|H|K|", "||"},
	{"host", "Host", "evil.test", "GET /~ HTTP/1.1|H|K|", "||"},
	{"connection", "Connection", "X-Org-Id", "GET /~ HTTP/1.1|H|K|", "||"},
}

// places are where in a field an odd byte may stand.
var places = []struct {
	label string
	put   func(name, value, odd string) string
}{
	{"before-name", func(n, v, odd string) string { return odd + n + ": " + v }},
	{"after-name", func(n, v, odd string) string { return n + odd + ": " + v }},
	{"in-name", func(n, v, odd string) string { return strings.Replace(n, n[1:2], odd, 1) + ": " + v }},
	{"before-value", func(n, v, odd string) string { return n + ":" + odd + v }},
	{"in-value", func(n, v, odd string) string { return n + ": " + v[:1] + odd + v[1:] }},
	{"after-value", func(n, v, odd string) string { return n + ": " + v + odd }},
	{"behind-another", func(n, v, odd string) string { return "A: b" + odd + n + ": " + v }},
}

// oddBytes are all controls, what some readers take for white space or for a line end, and delimiters.
var oddBytes = func() []byte {
	var odd []byte
	for b := byte(0); b <= ' '; b++ {
		odd = append(odd, b)
	}
	return append(odd, `"(),-./:;=?@[\]_{}`+"\x7f\x80\x85\xa0\xad\xc0\xff"...)
}()

// mutations puts every odd byte at every place of every field, and adds some mutations that are no single byte.
func mutations() []testCase {
	var cases []testCase
	for _, m := range mutated {
		add := func(label, line string) {
			cases = append(cases, testCase{name: "mutation/" + m.label + "/" + label, text: m.before + line + m.after, generated: true})
		}
		for _, place := range places {
			for _, b := range oddBytes {
				add(fmt.Sprintf("%s/%02x", place.label, b), place.put(m.name, m.value, fmt.Sprintf(`\x%02x`, b)))
			}
			for label, odd := range map[string]string{"crlf": "|", "crlf-space": "|\\s", "crlf-tab": "|\t", "lf-space": "\\n\\s", "cr-space": "\\r\\s"} {
				add(place.label+"/"+label, place.put(m.name, m.value, odd))
			}
		}
		add("lower", strings.ToLower(m.name)+": "+strings.ToUpper(m.value))
		add("upper", strings.ToUpper(m.name)+": "+strings.ToLower(m.value))
		add("twice", m.name+": "+m.value+"|"+strings.ToLower(m.name)+": "+m.value)
		add("no-value", m.name+":")
		add("no-colon", m.name+" "+m.value)
		add("only-name", m.name)
		add("two-colons", m.name+":: "+m.value)
		add("prefixed", "X-"+m.name+": "+m.value)
		add("suffixed", m.name+"-X: "+m.value)
	}
	return cases
}
