package serving_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"keygate/shared/certificate"
	"keygate/shared/certificate/certtest"
	"keygate/shared/serving"
)

// guarded serves with limits, and with TLS if there is a pair, whose files can be replaced in dir.
type guarded struct {
	tb      testing.TB
	address string
	pair    certtest.Pair
	dir     string
	log     logbook
}

func startGuarded(tb testing.TB, limits serving.Limits, pair *certtest.Pair, handler fasthttp.RequestHandler, change ...func(*serving.Config)) *guarded {
	tb.Helper()
	g := &guarded{tb: tb, dir: tb.TempDir()}
	registry := prometheus.NewRegistry()
	cfg := serving.Config{
		Listen: "127.0.0.1:0", Limits: limits, Handler: handler, Refuse: refuse, MaxHeader: 4096, ReadTimeout: 10 * time.Second,
		IdleTimeout: 10 * time.Second, Logger: slog.New(slog.NewTextHandler(&g.log, nil)), Metrics: serving.NewMetrics(registry, "proxy"),
	}
	for _, f := range change {
		f(&cfg)
	}
	parts := sync.WaitGroup{}
	ctx, stop := context.WithCancel(context.Background())
	if pair != nil {
		g.pair = *pair
		cert, key := pair.Write(tb, g.dir)
		keeper, err := certificate.Open(certificate.Config{CertFile: cert, KeyFile: key, Logger: cfg.Logger, Metrics: certificate.NewMetrics(registry, "proxy")})
		if err != nil {
			tb.Fatal(err)
		}
		cfg.TLS = keeper
		parts.Go(func() { _ = keeper.Run(ctx) })
	}
	s := serving.New(cfg)
	if err := s.Listen(); err != nil {
		tb.Fatal(err)
	}
	g.address = s.Addr().String()
	parts.Go(func() {
		if err := s.Run(ctx); err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(func() { stop(); parts.Wait() })
	return g
}

// dialTLS connects and verifies the certificate.
func (g *guarded) dialTLS() (*tls.Conn, *bufio.Reader) {
	g.tb.Helper()
	conn, err := tls.Dial("tcp", g.address, &tls.Config{RootCAs: g.pair.Pool(), NextProtos: []string{"http/1.1"}})
	if err != nil {
		g.tb.Fatal(err)
	}
	g.tb.Cleanup(func() { conn.Close() })
	return conn, bufio.NewReader(conn)
}

// logbook keeps what is logged.
type logbook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestAConnectionGoesOnWhileItsCertificateIsReplaced(t *testing.T) {
	first, second := certtest.Issue(t, "first"), certtest.Issue(t, "second")
	g := startGuarded(t, serving.Limits{}, &first, func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("served") })
	conn, reader := g.dialTLS()
	fmt.Fprint(conn, request)
	read(t, reader)
	second.Write(t, g.dir)
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(g.log.String(), "using a new TLS certificate"); {
		if time.Now().After(deadline) {
			t.Fatal("the new certificate is not noticed")
		}
		fmt.Fprint(conn, request)
		if response := read(t, reader); response.StatusCode != 200 || response.Close {
			t.Fatalf("got %d, close %v", response.StatusCode, response.Close)
		}
	}
	fmt.Fprint(conn, request)
	read(t, reader)
	g.pair = second
	g.dialTLS()
}

// Ensure that framing and lingering see what is inside of TLS.
func TestARefusedUploadReadsItsAnswerOverTLS(t *testing.T) {
	pair := certtest.Issue(t, "edge")
	g := startGuarded(t, serving.Limits{}, &pair, func(ctx *fasthttp.RequestCtx) {
		serving.Linger(ctx)
		ctx.SetConnectionClose()
		ctx.SetStatusCode(fasthttp.StatusRequestEntityTooLarge)
	})
	for range 5 {
		conn, reader := g.dialTLS()
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 8000000\r\n\r\n")
		if _, err := conn.Write(make([]byte, 8_000_000)); err != nil {
			t.Fatalf("sending: %v", err)
		}
		if response := read(t, reader); response.StatusCode != 413 {
			t.Errorf("got %d", response.StatusCode)
		}
	}
	conn, reader := g.dialTLS()
	fmt.Fprint(conn, "GET / HTTP/1.1\nHost: s\r\n\r\n")
	if response := read(t, reader); response.StatusCode != 400 {
		t.Errorf("a bare LF is answered %d", response.StatusCode)
	}
}

func TestPlainHTTPOnAPortThatSpeaksTLSIsToldSo(t *testing.T) {
	pair := certtest.Issue(t, "edge")
	g := startGuarded(t, serving.Limits{}, &pair, nil)
	conn, reader := dial(t, g.address)
	fmt.Fprint(conn, request)
	if code, detail := readProblem(t, reader, 400); code != "bad_request" || !strings.Contains(detail, "https://") {
		t.Errorf("got %s: %s", code, detail)
	}
}

// readProblem reads an answer that ends its connection.
func readProblem(tb testing.TB, reader *bufio.Reader, status int) (code, detail string) {
	tb.Helper()
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer response.Body.Close()
	var body struct{ Code, Detail string }
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil || response.StatusCode != status || !response.Close {
		tb.Errorf("got %s, close %v, %v", response.Status, response.Close, err)
	}
	if media := response.Header.Get("Content-Type"); media != "application/problem+json" {
		tb.Errorf("got %s", media)
	}
	if _, err := reader.ReadByte(); err == nil {
		tb.Error("there is more")
	}
	return body.Code, body.Detail
}

func TestBeyondTheLimitClientsAreToldSo(t *testing.T) {
	g := startGuarded(t, serving.Limits{Total: 10, PerAddress: 2}, nil, func(*fasthttp.RequestCtx) {})
	first, reader := dial(t, g.address)
	fmt.Fprint(first, request)
	read(t, reader)
	dial(t, g.address) // says nothing, and counts all the same
	_, reader = dial(t, g.address)
	if code, _ := readProblem(t, reader, 503); code != "unavailable" {
		t.Errorf("got %s", code)
	}
	first.Close()
	g.admitsSoon(func() (net.Conn, *bufio.Reader) { return dial(t, g.address) })
}

// admitsSoon wants a new connection to be served once the server has noticed that others are gone.
func (g *guarded) admitsSoon(connect func() (net.Conn, *bufio.Reader)) {
	g.tb.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, reader := connect()
		if conn != nil {
			fmt.Fprint(conn, request)
			response, err := http.ReadResponse(reader, nil)
			if err == nil && response.StatusCode == 200 {
				return
			}
			conn.Close()
		}
		if time.Now().After(deadline) {
			g.tb.Fatal("no connection is admitted")
		}
	}
}

// A stalled handshake holds up nobody while there is room, takes a place like any connection, and gives it back once the
// time for a header is over.
func TestAStalledHandshakeTakesAPlaceForAsLongAsAHeaderMay(t *testing.T) {
	pair := certtest.Issue(t, "edge")
	g := startGuarded(t, serving.Limits{Total: 2}, &pair, func(*fasthttp.RequestCtx) {},
		func(c *serving.Config) { c.ReadTimeout = 2 * time.Second })
	stalled, _ := dial(t, g.address)
	fmt.Fprint(stalled, "\x16\x03\x01")
	conn, reader := g.dialTLS()
	fmt.Fprint(conn, request)
	read(t, reader)
	refused, _ := dial(t, g.address)
	if got, err := io.ReadAll(refused); len(got) > 0 || err != nil {
		t.Errorf("without a place the client reads %q, %v", got, err)
	}
	if _, err := tls.Dial("tcp", g.address, &tls.Config{RootCAs: g.pair.Pool()}); err == nil {
		t.Error("a third connection is served")
	}
	if _, err := io.ReadAll(stalled); err != nil {
		t.Errorf("the stalled handshake ended with %v", err)
	}
	g.admitsSoon(func() (net.Conn, *bufio.Reader) {
		conn, err := tls.Dial("tcp", g.address, &tls.Config{RootCAs: g.pair.Pool()})
		if err != nil {
			return nil, nil
		}
		t.Cleanup(func() { conn.Close() })
		return conn, bufio.NewReader(conn)
	})
}
