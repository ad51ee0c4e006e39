package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// breaking is an API that breaks in one way at a time, and counts what it has executed: the requests that reached it whole.
type breaking struct {
	*backend
	mu       sync.Mutex
	breaks   func(a *breaking, p *peer)
	executed map[string][]seen // by target
}

func startBreaking(tb testing.TB) *breaking {
	tb.Helper()
	a := &breaking{executed: map[string][]seen{}}
	a.backend = startBackend(tb, func(p *peer) {
		a.mu.Lock()
		breaks := a.breaks
		a.mu.Unlock()
		breaks(a, p)
	})
	return a
}

// now breaks in another way, on new connections.
func (a *breaking) now(breaks func(a *breaking, p *peer)) {
	a.mu.Lock()
	a.breaks = breaks
	a.mu.Unlock()
	a.dropAll()
}

// execute reads a whole request.
func (a *breaking) execute(p *peer) bool {
	s, ok := p.request()
	if ok {
		a.mu.Lock()
		defer a.mu.Unlock()
		target := strings.Fields(s.line)[1]
		a.executed[target] = append(a.executed[target], s)
	}
	return ok
}

func (a *breaking) executions(target string) []seen {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.executed[target]
}

// faults are the ways in which an upstream may break while it has a request; executes says how often it carries out
// one that is sent to it once.
var faults = []struct {
	name     string
	executes int
	breaks   func(a *breaking, p *peer)
}{
	{"closes what it accepts", 0, func(*breaking, *peer) {}},
	{"resets what it accepts", 0, func(_ *breaking, p *peer) { p.reset() }},
	{"resets at the first byte", 0, func(_ *breaking, p *peer) { _, _ = p.reader.ReadByte(); p.reset() }},
	{"resets behind the head", 0, func(_ *breaking, p *peer) { p.head(); p.reset() }},
	{"closes behind the head", 0, func(_ *breaking, p *peer) { p.head() }},
	{"resets after the request", 1, func(a *breaking, p *peer) { a.execute(p); p.reset() }},
	{"closes after the request", 1, func(a *breaking, p *peer) { a.execute(p) }},
	{"answers nothing", 1, func(a *breaking, p *peer) { a.execute(p); p.hang() }},
	{"answers 100 alone", 1, func(a *breaking, p *peer) { a.execute(p); p.send("HTTP/1.1 100 Continue\r\n\r\n"); p.hang() }},
	{"closes after 100", 1, func(a *breaking, p *peer) { a.execute(p); p.send("HTTP/1.1 100 Continue\r\n\r\n") }},
	{"resets in the status line", 1, func(a *breaking, p *peer) { a.execute(p); p.send("HTTP/1.1 20"); p.reset() }},
	{"closes in the head", 1, func(a *breaking, p *peer) { a.execute(p); p.send("HTTP/1.1 200 OK\r\nContent-Le") }},
	{"hangs in the head", 1, func(a *breaking, p *peer) { a.execute(p); p.send("HTTP/1.1 200 OK\r\nContent-Le"); p.hang() }},
	{"closes in the body", 1, func(a *breaking, p *peer) { a.execute(p); p.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc") }},
	{"resets in a long body", 1, func(a *breaking, p *peer) {
		a.execute(p)
		p.send("HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + strings.Repeat("x", 100_000))
		p.reset()
	}},
	{"closes in a chunk", 1, func(a *breaking, p *peer) {
		a.execute(p)
		p.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n9\r\nab")
	}},
	{"answers what is no HTTP", 1, func(a *breaking, p *peer) { a.execute(p); p.send("SSH-2.0-OpenSSH\r\n") }},
}

// unsafe are the requests that change something.
func unsafe(target, key string) map[string]string {
	key = "X-API-Key: " + key
	long := pattern(200 << 10)
	return map[string]string{
		"POST": request("POST", target+"/1", "{}", key), "PUT": request("PUT", target+"/2", "{}", key),
		"PATCH": request("PATCH", target+"/3", "{}", key), "DELETE": request("DELETE", target+"/4", "", key),
		"POST without a body": request("POST", target+"/5", "", key), "a long POST": request("POST", target+"/6", long, key),
		"a POST in chunks":      chunked("POST", target+"/7", []string{key}, []string{"{}"}, nil),
		"a long POST in chunks": chunked("POST", target+"/8", []string{key}, []string{long[:100<<10], long[100<<10:]}, nil),
		"LOCK":                  request("LOCK", target+"/9", "", key),
	}
}

// targetOf returns the target of a request that was written out.
func targetOf(text string) string { return strings.Fields(text)[1] }

func TestWhatMayNotBeRepeatedIsExecutedAtMostOnceHoweverTheUpstreamBreaks(t *testing.T) {
	t.Parallel()
	s := newEdge(t)
	api := startBreaking(t)
	proxy := s.proxy(api.url, "--response-timeout", "250ms")
	key := s.createKey("acme").Key
	for n, fault := range faults {
		for _, used := range []bool{false, true} {
			requests := unsafe(fmt.Sprintf("/%d/%v", n, used), key)
			api.now(fault.breaks)
			if used {
				api.now(onceUsed(len(requests), fault.breaks))
			}
			var warm, all sync.WaitGroup
			warm.Add(len(requests))
			for name, text := range requests {
				all.Go(func() {
					err := tryWarm(proxy.addr, key, used)
					warm.Done()
					warm.Wait() // so that each finds a connection of its own in the pool
					if err == nil {
						err = tryFailing(proxy.addr, text)
					}
					if got := len(api.executions(targetOf(text))); err != nil || got != fault.executes {
						t.Errorf("%s, on a used connection: %v, to an upstream that %s: executed %d times, %v", name, used, fault.name, got, err)
					}
				})
			}
			all.Wait()
		}
	}
	api.now(func(a *breaking, p *peer) {
		for a.execute(p) && p.send(response("200 OK", "ok")) {
		}
	})
	for name, text := range unsafe("/fine", key) {
		w := dial(t, proxy.addr)
		w.send(text)
		if got := w.receive("POST"); got.status != http.StatusOK || len(api.executions(targetOf(text))) != 1 {
			t.Errorf("%s, once the upstream is well: %v, %d executions", name, got, len(api.executions(targetOf(text))))
		}
	}
}

// onceUsed answers a first request on each of n connections, all at the same time, and breaks what comes then.
func onceUsed(n int, breaks func(a *breaking, p *peer)) func(a *breaking, p *peer) {
	var warm sync.WaitGroup
	warm.Add(n)
	return func(a *breaking, p *peer) {
		seen, ok := p.head()
		if !ok || !strings.HasPrefix(seen.line, "GET ") {
			p.reset() // a connection that has not been used
			return
		}
		warm.Done()
		warm.Wait()
		p.send(response("200 OK", "ok"))
		breaks(a, p)
	}
}

func tryWarm(addr, key string, used bool) error {
	if !used {
		return nil
	}
	return tryOn(addr, request("GET", "/warm", "", "X-API-Key: "+key), func(answer *http.Response) error {
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("the first answer is %d", answer.StatusCode)
		}
		_, err := io.Copy(io.Discard, answer.Body)
		return err
	})
}

// tryFailing wants a request to be answered by an error, or by the beginning of an answer.
func tryFailing(addr, text string) error {
	return tryOn(addr, text, func(answer *http.Response) error {
		body, err := io.ReadAll(answer.Body)
		switch {
		case answer.StatusCode == http.StatusBadGateway || answer.StatusCode == http.StatusGatewayTimeout:
			return err
		case answer.StatusCode == http.StatusOK && err != nil:
			return nil
		}
		return fmt.Errorf("the answer is %d %.100s", answer.StatusCode, body)
	})
}

// tryOn sends one request on a connection of its own, and goes on sending while the answer comes.
func tryOn(addr, text string, check func(answer *http.Response) error) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	var sending sync.WaitGroup
	sending.Go(func() { _, _ = io.WriteString(conn, text) }) // who breaks off need not have read it all
	defer sending.Wait()
	defer conn.Close()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return fmt.Errorf("there is no answer: %w", err)
	}
	defer answer.Body.Close()
	return check(answer)
}

// Under --upstream-idempotent the second attempt has the name and the signature of the first.
func TestARepeatedRequestHasTheIdOfTheFirst(t *testing.T) {
	t.Parallel()
	s := newEdge(t)
	api := startBreaking(t)
	api.now(func(a *breaking, p *peer) { a.execute(p) })
	proxy := s.proxy(api.url, "--upstream-idempotent", "/v1/")
	key := "X-API-Key: " + s.createKey("acme").Key
	for target, times := range map[string]int{"/v1/events": 2, "/v2/events": 1} {
		w := dial(t, proxy.addr)
		w.send(request("POST", target, anEvent, key))
		w.receive("POST").refuses(t, 502, "upstream_unreachable")
		got := api.executions(target)
		if len(got) != times {
			t.Fatalf("%s is sent %d times", target, len(got))
		}
		for _, name := range []string{"x-keygate-id", "x-org-id", "x-org-signature"} {
			first, last := got[0].values(name), got[times-1].values(name)
			if len(first) != 1 || !slices.Equal(first, last) || got[0].body != got[times-1].body {
				t.Errorf("%s of %s is %q at first, and then %q", name, target, first, last)
			}
		}
	}
}
