package serving_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"keygate/shared/serving"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// start serves handler until stop is called, which returns what Run did.
func start(tb testing.TB, handler fasthttp.RequestHandler, drain time.Duration) (address string, stop context.CancelFunc, done <-chan error) {
	tb.Helper()
	return startWith(tb, serving.Config{Handler: handler, DrainDelay: drain})
}

func startWith(tb testing.TB, config serving.Config) (address string, stop context.CancelFunc, done <-chan error) {
	tb.Helper()
	config.Listen, config.Refuse, config.Logger = "127.0.0.1:0", refuse, slog.New(slog.DiscardHandler)
	config.MaxHeader, config.ReadTimeout, config.IdleTimeout = 4096, 10*time.Second, 10*time.Second
	config.Metrics = serving.NewMetrics(prometheus.NewRegistry(), "proxy")
	s := serving.New(config)
	if err := s.Listen(); err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	tb.Cleanup(stop)
	return s.Addr().String(), stop, ended
}

// refuse answers 400 to broken rules, and 500 to anything else.
func refuse(ctx *fasthttp.RequestCtx, err error) {
	ctx.SetStatusCode(fasthttp.StatusInternalServerError)
	if _, ok := serving.BrokenRule(err); ok {
		ctx.SetStatusCode(fasthttp.StatusBadRequest)
	}
}

func dial(tb testing.TB, address string) (net.Conn, *bufio.Reader) {
	tb.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	return conn, bufio.NewReader(conn)
}

func read(tb testing.TB, reader *bufio.Reader) *http.Response {
	tb.Helper()
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		tb.Fatal(err)
	}
	response.Body.Close()
	return response
}

const request = "GET / HTTP/1.1\r\nHost: s\r\n\r\n"

func TestARequestInFlightIsAnsweredAfterTheStop(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	address, stop, done := start(t, func(ctx *fasthttp.RequestCtx) {
		close(began)
		<-finish
		ctx.SetBodyString("answered")
	}, 0)
	conn, reader := dial(t, address)
	fmt.Fprint(conn, request)
	<-began
	stop()
	select {
	case err := <-done:
		t.Fatalf("Run returned %v before the request was answered", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(finish)
	if response := read(t, reader); response.StatusCode != 200 || !response.Close {
		t.Errorf("got %d, close %v", response.StatusCode, response.Close)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWhileDrainingNewRequestsAreServedAndAskedToClose(t *testing.T) {
	address, stop, done := start(t, func(*fasthttp.RequestCtx) {}, 300*time.Millisecond)
	conn, reader := dial(t, address)
	fmt.Fprint(conn, request)
	if response := read(t, reader); response.Close {
		t.Error("the connection is closed before the stop")
	}
	stop()
	for deadline := time.Now().Add(250 * time.Millisecond); ; {
		late, lateReader := dial(t, address)
		fmt.Fprint(late, request)
		if read(t, lateReader).Close {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no answer asked for the connection to be closed")
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("the listener is still open")
	}
}

// Ensure a client reads why it was refused although it is still sending: a close with input unread would reset it.
func TestARefusedUploadReadsItsAnswer(t *testing.T) {
	address, _, _ := start(t, func(ctx *fasthttp.RequestCtx) {
		serving.Linger(ctx)
		ctx.SetConnectionClose()
		ctx.SetStatusCode(fasthttp.StatusRequestEntityTooLarge)
	}, 0)
	for range 20 {
		conn, reader := dial(t, address)
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 8000000\r\n\r\n")
		if _, err := conn.Write(make([]byte, 8_000_000)); err != nil {
			t.Fatalf("sending: %v", err)
		}
		if response := read(t, reader); response.StatusCode != 413 {
			t.Errorf("got %d", response.StatusCode)
		}
		conn.Close()
	}
}

func TestAConnectionThatWentOnDoesNotLinger(t *testing.T) {
	address, stop, done := start(t, func(ctx *fasthttp.RequestCtx) { serving.Linger(ctx) }, 0)
	conn, reader := dial(t, address)
	fmt.Fprint(conn, request)
	read(t, reader)
	stop()
	begun := time.Now()
	if err := <-done; err != nil || time.Since(begun) > time.Second {
		t.Errorf("stopped after %v with %v", time.Since(begun), err)
	}
}

// What came behind a request to switch is none, and what breaks the rules of requests may be in it.
func TestWhatFollowsASwitchIsNotJudged(t *testing.T) {
	const raw = "\x81\n\n5\x00\r\nGET / HTTP/1.1\nContent-Length: x\r\n\r\n"
	handed := make(chan string, 1)
	address, _, _ := start(t, func(ctx *fasthttp.RequestCtx) {
		ctx.SetStatusCode(fasthttp.StatusSwitchingProtocols)
		ctx.Hijack(func(c net.Conn) {
			got, _ := io.ReadAll(c)
			handed <- string(got)
		})
	}, 0)
	for cut := range len(request) + len(raw) {
		conn, reader := dial(t, address)
		text := request + raw + raw
		fmt.Fprint(conn, text[:cut])
		if cut >= len(request) {
			read(t, reader) // so that the rest comes when the connection has been taken over
		}
		fmt.Fprint(conn, text[cut:])
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got := <-handed; got != raw+raw {
			t.Fatalf("cut at %d: %q became %q", cut, raw+raw, got)
		}
		conn.Close()
	}
}

func TestABodyIsJudgedToItsEndWhoeverWritesTheAnswer(t *testing.T) {
	handed := make(chan error, 1)
	address, _, _ := start(t, func(ctx *fasthttp.RequestCtx) {
		body := ctx.RequestBodyStream()
		ctx.Hijack(func(net.Conn) {
			_, err := io.Copy(io.Discard, body)
			handed <- err
		})
	}, 0)
	conn, _ := dial(t, address)
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3 \r\nabc\r\n0\r\n\r\n")
	if err := <-handed; err == nil {
		t.Error("a chunk's size was followed by a space")
	}
}

func TestABrokenRuleIsAnsweredAndEndsTheConnection(t *testing.T) {
	served := make(chan string, 9)
	address, _, _ := start(t, func(ctx *fasthttp.RequestCtx) {
		served <- string(ctx.Path())
		if body := ctx.RequestBodyStream(); body != nil {
			if _, err := io.Copy(io.Discard, body); err != nil {
				ctx.SetStatusCode(fasthttp.StatusBadRequest)
				ctx.SetConnectionClose()
			}
		}
	}, 0)
	f := func(text string, paths string, want ...int) {
		t.Helper()
		conn, reader := dial(t, address)
		defer conn.Close()
		fmt.Fprint(conn, text)
		for i, status := range want {
			if got := read(t, reader); got.StatusCode != status || got.Close != (i+1 == len(want)) {
				t.Errorf("%q: answer %d is %d, close %v", text, i, got.StatusCode, got.Close)
			}
		}
		if _, err := reader.ReadByte(); err == nil {
			t.Errorf("%q: the connection is still open", text)
		}
		for _, path := range strings.Fields(paths) {
			if got := <-served; got != path {
				t.Errorf("%q: %s was served, not %s", text, got, path)
			}
		}
		if len(served) > 0 {
			t.Errorf("%q: %s was served", text, <-served)
		}
	}
	const next = "GET /next HTTP/1.1\r\nHost: s\r\n\r\n"
	f("GET / HTTP/1.1\nHost: s\r\n\r\n"+next, "", 400)
	f("\nGET / HTTP/1.1\r\nHost: s\r\n\r\n"+next, "", 400)
	f("GET /a HTTP/1.1\r\nHost: s\r\n\r\nGET / HTTP/1.1\nHost: s\r\n\r\n"+next, "/a", 200, 400)
	f("GET /a HTTP/1.1\r\nHost: s\r\n\r\n\nGET / HTTP/1.1\r\nHost: s\r\n\r\n"+next, "/a", 200, 400)
	f("POST /a HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n"+next, "/a", 400)
	f("POST /a HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n"+next, "/a", 400)
	f("POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+next, "", 400)
}

func TestABodyThatIsIgnoredIsNeitherWaitedForNorTakenForARequest(t *testing.T) {
	var served atomic.Int32
	address, stop, done := startWith(t, serving.Config{IgnoreBody: true, Handler: func(ctx *fasthttp.RequestCtx) {
		served.Add(1)
		fmt.Fprint(ctx, len(ctx.Request.Body()), ctx.Request.IsBodyStream())
	}})
	ask := func(text string, closes bool) {
		t.Helper()
		conn, reader := dial(t, address)
		fmt.Fprint(conn, text)
		if response := read(t, reader); response.StatusCode != 200 || response.Close != closes || response.ContentLength != int64(len("0 false")) {
			t.Errorf("%q: got %d with %d bytes, close %v", text, response.StatusCode, response.ContentLength, response.Close)
		}
		if _, err := reader.ReadByte(); closes && err != io.EOF {
			t.Errorf("%q: the connection goes on: %v", text, err)
		}
		conn.Close()
	}
	ask("POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 100\r\n\r\n", true)
	ask("POST / HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n", true)
	ask("POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n", true)
	ask("GET / HTTP/1.1\r\nHost: s\r\nContent-Length: 3\r\n\r\n"+request, true)
	ask("POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 0\r\n\r\n", false)
	ask(request, false)
	stop()
	if err := <-done; err != nil || served.Load() != 6 {
		t.Errorf("served %d requests, %v", served.Load(), err)
	}
}
