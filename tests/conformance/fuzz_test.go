package conformance

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// inSeeds stands for the key, which is another one in each process.
const inSeeds = "$KEY"

// Whatever a client sends, the upstream is sent whole requests, each with our organisation and no other.
func FuzzRequest(f *testing.F) {
	for _, c := range parseCases(f, "requests.txt") {
		if text := expand(f, c.text, inSeeds, idOf(1)); len(text) < 1<<10 {
			f.Add(text)
		}
	}
	up := newUpstream(f, echo)
	e := newEdge(f, up.addr())
	f.Cleanup(func() {
		e.stop()
		up.close()
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		data = bytes.ReplaceAll(data, []byte(inSeeds), []byte(e.key))
		received := sendAll(t, e.addr, data)
		j := judge{org: org, key: e.key, ours: true}
		requests, tail := readAll(data)
		answered := countAnswers(&j, requests, received)
		seen := up.take()
		j.upstream(&exchange{of: testCase{lenient: true}}, seen, nil, errIncomplete)
		whole := 0
		for _, n := range seen {
			if n.err == nil {
				whole++
			}
		}
		if tail == nil && whole > len(requests) {
			j.fault("%d requests became %d", len(requests), whole)
		}
		if whole != answered {
			j.fault("the upstream saw %d requests, and %d were answered by it", whole, answered)
		}
		if len(j.faults) > 0 {
			t.Errorf("%s\nsent     %q\nreceived %.500q", strings.Join(j.faults, "\n"), data, received)
		}
	})
}

// sendAll returns all that a server answers to a client that says no more than data.
func sendAll(tb testing.TB, addr string, data []byte) (received []byte) {
	tb.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	x := &exchange{waited: true}
	var reading sync.WaitGroup
	reading.Go(func() { x.receive(conn.(*net.TCPConn)) })
	_, _ = conn.Write(data)
	_ = conn.(*net.TCPConn).CloseWrite()
	reading.Wait()
	if x.hung {
		tb.Errorf("the connection hangs after %q", data)
	}
	return x.received
}

// countAnswers counts those of the upstream. An answer may be cut only where the connection ends, and then it is the
// last; that is how one looks whose request's body is wrong after the upstream has begun to answer.
func countAnswers(j *judge, requests []message, received []byte) (upstreams int) {
	for i := 0; len(received) > 0; {
		method := "GET"
		if i < len(requests) {
			method = requests[i].method
		}
		a, err := readResponse(received, method, true)
		if err != nil && !errors.Is(err, errIncomplete) {
			j.fault("answer %d, %.60q: %v", i, received, err)
		}
		if err != nil {
			return upstreams
		}
		if received = received[a.size:]; a.status >= 200 {
			i++
		}
		if a.status == 200 {
			upstreams++
		}
	}
	return upstreams
}
