package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"keygate/proxy/auth"
	"keygate/proxy/forward"
	"keygate/proxy/identity"
	"keygate/proxy/server"
	"keygate/shared/serving"
)

// decider answers by the key itself: the name of a reason.
type decider struct {
	asked int
	from  netip.Addr // of the last one
}

func (d *decider) Resolve(_ context.Context, key []byte, from netip.Addr) auth.Decision {
	d.asked++
	d.from = from
	for reason := auth.Unavailable; reason <= auth.Allowed; reason++ {
		if reason.String() == string(key) {
			return auth.Decision{Reason: reason, Principal: auth.Principal{OrgID: "org-1", Prefix: []byte("prefix")}}
		}
	}
	return auth.Decision{Reason: auth.NoSuchKey}
}

// upstream keeps what it is sent and answers 200, or fails.
type upstream struct {
	header, target, upgrade string
	watched                 bool
	err                     error
	calls                   int
}

func (u *upstream) Forward(ctx *fasthttp.RequestCtx, x forward.Exchange) error {
	u.calls++
	u.header, u.target, u.upgrade, u.watched = string(x.Header), string(x.Target), x.Upgrade, x.Watch != nil
	if u.err == nil {
		ctx.SetBodyString("from the upstream")
	}
	return u.err
}

type fixture struct {
	tb       testing.TB
	auth     *decider
	upstream *upstream
	network  string
	address  string
	conn     net.Conn
	reader   *bufio.Reader
}

func start(tb testing.TB, change ...func(*server.Config)) *fixture {
	tb.Helper()
	f := &fixture{tb: tb, auth: &decider{}, upstream: &upstream{}}
	cfg := server.Config{
		Address: "127.0.0.1:0", Auth: f.auth, Forward: f.upstream,
		Policy: identity.New(identity.Policy{OrgHeader: "X-Org-Id", Carriers: identity.Bearer | identity.XAPIKey}),
		Logger: slog.New(slog.DiscardHandler), Metrics: serving.NewMetrics(prometheus.NewRegistry(), "proxy"),
		HeaderTimeout: 5 * time.Second, IdleTimeout: 5 * time.Second, MaxBody: 1000,
	}
	for _, c := range change {
		c(&cfg)
	}
	s := server.New(cfg)
	if err := s.Listen(); err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	f.network, f.address = s.Addr().Network(), s.Addr().String()
	f.dial()
	tb.Cleanup(func() {
		f.conn.Close()
		stop()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return f
}

func (f *fixture) dial() {
	f.tb.Helper()
	conn, err := net.Dial(f.network, f.address)
	if err != nil {
		f.tb.Fatal(err)
	}
	f.conn, f.reader = conn, bufio.NewReader(conn)
}

// send writes raw bytes on the fixture's connection and reads one answer.
func (f *fixture) send(raw string) (*http.Response, map[string]any) {
	f.tb.Helper()
	if _, err := io.WriteString(f.conn, raw); err != nil {
		f.tb.Fatal(err)
	}
	method, _, _ := strings.Cut(raw, " ")
	response, err := http.ReadResponse(f.reader, &http.Request{Method: method})
	if err != nil {
		f.tb.Fatalf("%q: %v", raw, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		f.tb.Fatal(err)
	}
	var problem map[string]any
	if response.Header.Get("Content-Type") == "application/problem+json" {
		if err := json.Unmarshal(text, &problem); err != nil {
			f.tb.Fatalf("%q: %v", text, err)
		}
	}
	return response, problem
}

func get(key string) string {
	return "GET /a?b=c HTTP/1.1\r\nHost: edge\r\nX-API-Key: " + key + "\r\n\r\n"
}
