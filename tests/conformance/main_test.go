// Package conformance speaks to the proxy on raw sockets, in bytes that no HTTP library would send, with an upstream
// behind it that writes down every byte that it is sent.
//
// Cases are data: the notation is described beside parseCases, the requests and answers are in testdata. What has to
// become of a case is not written next to it but derived from an independent and strict reading of RFC 9112 (message.go's
// readRequest and readResponse) and from the short table of the house's own refusals (judge). What did become of it is one
// line of testdata/verdicts.txt. Run `go test ./tests/conformance -update` to accept new verdicts, and read the diff.
package conformance

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write testdata/verdicts.txt")

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}
