package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// scripted is an upstream's answer, as the case says it.
type scripted struct {
	testCase
	method string
	reply  reply
}

func responseCases(tb testing.TB) []scripted {
	var cases []scripted
	for _, c := range parseCases(tb, "responses.txt") {
		then, text, _ := strings.Cut(c.text, " ")
		s := scripted{c, "GET", reply{expand(tb, strings.TrimLeft(text, " "), "", ""), then == "close"}}
		if strings.HasSuffix(c.name, "-head") {
			s.method = "HEAD"
		}
		cases = append(cases, s)
	}
	return cases
}

// theater is an edge before an upstream that answers /scripted as it is told, and everything else like echo.
type theater struct {
	edge   *edge
	up     *upstream
	script reply
}

func newTheater(tb testing.TB) *theater {
	t := &theater{}
	t.up = newUpstream(tb, func(m *message) reply {
		if strings.HasSuffix(m.target, "/scripted") {
			return t.script
		}
		return echo(m)
	})
	t.up.forgets = true
	t.edge = newEdge(tb, t.up.addr())
	return t
}

func (t *theater) close() {
	t.edge.stop()
	t.up.close()
}

// play sends a request that is answered by the script, and an honest one behind it on the same connection.
func (t *theater) play(tb testing.TB, method string, script reply, id string) *exchange {
	t.script = script
	x := &exchange{id: id}
	x.sent = expand(tb, method+" /~/scripted HTTP/1.1|H|K||GET /~/after HTTP/1.1|H|K|Connection: close||", t.edge.key, id)
	x.perform(tb, t.edge.addr, [][]byte{x.sent}, nil)
	return x
}

func TestAnUpstreamsAnswerIsPassedOnWholeOrReplaced(t *testing.T) {
	stage := newTheater(t)
	table := &verdicts{found: map[string]verdict{}}
	for i, c := range responseCases(t) {
		for range 2 { // the second time what the first left behind would show
			x := stage.play(t, c.method, c.reply, idOf(i))
			x.of = c.testCase
			v, faults := weighAnswer(c, x)
			if err := table.add(x, v); err != nil {
				faults = append(faults, err.Error())
			}
			if len(faults) > 0 {
				t.Errorf("%s: %s\nreceived %.300q", c.name, strings.Join(faults, "\n"), x.received)
				break
			}
		}
	}
	stage.close()
	table.compare(t, filepath.Join("testdata", "response-verdicts.txt"))
}

// The classes of answers.
const (
	passedOn  = "passed on"
	replaced  = "replaced"  // by a problem of ours
	truncated = "truncated" // a part of it was passed on, and nothing after it
)

// weighAnswer compares what the client got with a strict reading of what the upstream sent.
func weighAnswer(c scripted, x *exchange) (v verdict, faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	want, wrong := finalAnswer(c)
	got, err := readResponse(x.received, c.method, false)
	rest := x.received[min(got.size, len(x.received)):]
	v.statuses = []string{fmt.Sprint(got.status)}
	switch {
	case x.hung:
		fault("the connection hangs")
	case errors.Is(err, errIncomplete):
		v.class = truncated
		if wrong == nil && !c.severe || want.head == 0 {
			fault("a part of it was passed on")
		}
		if want.status != got.status || !c.lenient && !strings.HasPrefix(want.body, got.body) {
			fault("another part was passed on than was sent")
		}
		return v, faults
	case err != nil:
		fault("the client cannot read its answer: %v", err)
	case got.status == 502 && strings.Contains(got.body, `"code":"upstream_unreachable"`), got.status == 502 && c.method == "HEAD":
		v.class = replaced
		if wrong == nil && !c.severe {
			fault("it is valid, but was replaced")
		}
	default:
		v.class = passedOn
		if wrong != nil && !c.lenient {
			fault("it is passed on, although it is %v", wrong)
		}
		if wrong == nil {
			sameAnswer(fault, &got, &want)
		}
	}
	v.open = next(fault, &got, rest, x.id)
	return v, faults
}

// finalAnswer reads the answer behind the interim ones.
func finalAnswer(c scripted) (message, error) {
	for b := c.reply.bytes; ; {
		m, err := readResponse(b, c.method, c.reply.closes)
		if err != nil || m.status >= 200 {
			return m, err
		}
		b = b[m.size:]
	}
}

func sameAnswer(fault func(string, ...any), got, want *message) {
	if got.status != want.status || got.body != want.body {
		fault("%d with %d bytes was passed on as %d with %d", want.status, len(want.body), got.status, len(got.body))
	}
	if len(got.trailers) > 0 || got.extensions {
		fault("trailers or chunk extensions were passed on")
	}
	pass := func(m *message) []field {
		kept := slices.DeleteFunc(slices.Clone(m.fields), func(f field) bool {
			name := strings.ToLower(f.name)
			return slices.Contains([]string{"connection", "keep-alive", "proxy-authenticate", "trailer", "transfer-encoding", "content-length", "upgrade"}, name) ||
				slices.Contains(m.tokens("connection"), name)
		})
		for i := range kept { // fasthttp spells some names in its own way, such as Content-Type
			kept[i].name = strings.ToLower(kept[i].name)
		}
		return kept
	}
	byName := func(a, b field) int { return strings.Compare(a.name, b.name) }
	have, sent := pass(got), pass(want)
	slices.SortStableFunc(have, byName)
	slices.SortStableFunc(sent, byName)
	if !slices.Equal(have, sent) {
		fault("the fields %q were passed on as %q", sent, have)
	}
}

// next weighs what follows the answer: another request's own, or the end of the connection.
func next(fault func(string, ...any), before *message, rest []byte, id string) (answered bool) {
	if len(rest) == 0 {
		if !before.closes() {
			fault("the connection ends without being announced")
		}
		return false
	}
	after, err := readResponse(rest, "GET", true)
	switch {
	case before.closes():
		fault("%.100q follows the last answer", rest)
	case err != nil || after.size != len(rest):
		fault("the next answer is %.200q, %v", rest, err)
	case after.body != "/"+id+"/after ["+org+"]\n" || after.status != 200:
		fault("the next request is answered by another's answer: %.200q", rest)
	}
	return true
}

func FuzzResponse(f *testing.F) {
	for _, c := range responseCases(f) {
		if len(c.reply.bytes) < 2<<10 {
			f.Add(c.reply.bytes, c.reply.closes, c.method == "HEAD")
		}
	}
	stage := newTheater(f)
	f.Cleanup(stage.close)
	f.Fuzz(func(t *testing.T, answer []byte, closes, head bool) {
		c := scripted{testCase{name: "fuzz", lenient: true, severe: true}, "GET", reply{bytes.Clone(answer), true}}
		if head {
			c.method = "HEAD"
		}
		x := stage.play(t, c.method, c.reply, idOf(1))
		if _, wrong := finalAnswer(c); wrong != nil && closes {
			return // it was sent for the sake of what it leaves behind
		}
		if _, faults := weighAnswer(c, x); len(faults) > 0 {
			t.Errorf("%s\nsent     %q\nreceived %.500q", strings.Join(faults, "\n"), answer, x.received)
		}
	})
}
