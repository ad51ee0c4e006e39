package verify_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"keygate/migrations"
	"keygate/proxy/apikey"
	"keygate/proxy/auth"
	"keygate/proxy/auth/memstore"
	"keygate/proxy/auth/sqlitesource"
	"keygate/proxy/identity"
	"keygate/proxy/keys"
	"keygate/proxy/verify"
	"keygate/shared/database"
	"keygate/shared/serving"
	"keygate/shared/trust"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

const patience = 20 * time.Second

// fixture is a verify listener in front of a resolver over a SQLite file.
type fixture struct {
	tb       testing.TB
	db       *database.DB
	keys     *keys.Store
	source   *source
	registry *prometheus.Registry
	resolver *auth.Resolver
	address  net.Addr
	run      func(func(context.Context) error) // until stop
	stop     func()                            // waits until what is in flight has been answered
}

// source is the real one until it is cut off.
type source struct {
	*sqlitesource.Source
	cut atomic.Bool
}

func (s *source) Lookup(ctx context.Context, prefix string) ([]auth.Key, error) {
	if s.cut.Load() {
		return nil, errors.New("out of reach")
	}
	return s.Source.Lookup(ctx, prefix)
}

// held is an authenticator that does not answer before it is let to.
type held struct {
	verify.Authenticator
	began, finish chan struct{}
}

func (h *held) Resolve(ctx context.Context, key []byte, from netip.Addr) auth.Decision {
	close(h.began)
	<-h.finish
	return h.Authenticator.Resolve(ctx, key, from)
}

func must[T any](tb testing.TB) func(T, error) T {
	return func(value T, err error) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return value
	}
}

func start(tb testing.TB, change ...func(*verify.Config)) *fixture {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "keys.db")
	f := &fixture{tb: tb, registry: prometheus.NewRegistry()}
	f.db = must[*database.DB](tb)(database.Open(tb.Context(), must[database.URL](tb)(database.Parse("sqlite:"+path))))
	tb.Cleanup(func() { f.db.Close() })
	must[[]migrations.Migration](tb)(migrations.Up(tb.Context(), f.db, migrations.Changelog, migrations.Auth))
	f.keys = keys.New(f.db, keys.Minting{Brand: "zap", Env: "live", Alg: auth.SHA256})

	log := slog.New(slog.DiscardHandler)
	f.source = &source{Source: sqlitesource.New(sqlitesource.Config{Path: path, Logger: log})}
	tb.Cleanup(f.source.Close)
	if err := f.source.Open(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	memory := func() *memstore.Store {
		store := must[*memstore.Store](tb)(memstore.Open(memstore.Config{MaxBytes: 1 << 20, Forget: time.Minute}))
		tb.Cleanup(func() { store.Close() })
		return store
	}
	f.resolver = auth.New(auth.Config{
		Format: apikey.Format{}, Memory: memory(), Negative: memory(), Source: f.source,
		CacheTTL: time.Minute, SharedTTL: time.Minute, NegativeTTL: time.Minute, StaleIfError: time.Minute,
		SourceRate: 1000, SourceConcurrency: 4, Logger: log, Metrics: auth.NewMetrics(prometheus.NewRegistry()),
	})
	tb.Cleanup(f.resolver.Close)
	f.serve(change...)
	return f
}

func (f *fixture) serve(change ...func(*verify.Config)) {
	f.tb.Helper()
	secrets := must[*trust.Secrets](f.tb)(trust.Parse("a secret that only the test knows"))
	cfg := verify.Config{
		Address: "127.0.0.1:0", Auth: f.resolver,
		Policy: identity.New(identity.Policy{
			OrgHeader: "X-Org-Id", Carriers: identity.Bearer | identity.XAPIKey, Secrets: secrets,
		}),
		HeaderTimeout: patience, IdleTimeout: patience,
		Logger: slog.New(slog.DiscardHandler), Metrics: serving.NewMetrics(f.registry, "proxy_verify"),
	}
	for _, c := range change {
		c(&cfg)
	}
	server := verify.New(cfg)
	if err := server.Listen(); err != nil {
		f.tb.Fatal(err)
	}
	f.address = server.Addr()
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	f.run = func(part func(context.Context) error) {
		group.Go(func() {
			if err := part(ctx); err != nil && !errors.Is(err, context.Canceled) {
				f.tb.Error(err)
			}
		})
	}
	f.run(server.Run)
	f.run(f.resolver.Run)
	f.stop = sync.OnceFunc(func() {
		cancel()
		group.Wait()
	})
	f.tb.Cleanup(f.stop)
}

// follow has changes of the file heard. Without it, what was once looked up stays known.
func (f *fixture) follow() {
	f.run(func(ctx context.Context) error { return f.source.Follower().Run(ctx, f.resolver.Changed) })
}

func (f *fixture) create(owner string) keys.Created {
	f.tb.Helper()
	return must[keys.Created](f.tb)(f.keys.Create(f.tb.Context(), keys.Owner{Name: owner}, time.Time{}))
}

// settle waits until a key has been looked up: on a busy machine that may take longer than a request waits for it.
func (f *fixture) settle(all ...keys.Created) {
	f.tb.Helper()
	w := f.dial()
	defer w.conn.Close()
	for _, key := range all {
		for deadline := time.Now().Add(patience); w.send(get("X-API-Key: "+key.Key)).StatusCode == 503; {
			if time.Now().After(deadline) {
				f.tb.Fatal("a key cannot be looked up")
			}
		}
	}
}

// settled returns a key that passes.
func (f *fixture) settled() keys.Created {
	f.tb.Helper()
	key := f.create("acme")
	f.settle(key)
	return key
}

func (f *fixture) execute(statement string, args ...any) {
	f.tb.Helper()
	if _, err := f.db.ExecContext(f.tb.Context(), statement, args...); err != nil {
		f.tb.Fatal(err)
	}
}

// wire is one connection to the listener.
type wire struct {
	tb     testing.TB
	conn   net.Conn
	reader *bufio.Reader
}

func (f *fixture) dial() *wire {
	f.tb.Helper()
	conn := must[net.Conn](f.tb)(net.Dial(f.address.Network(), f.address.String()))
	f.tb.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		f.tb.Fatal(err)
	}
	return &wire{f.tb, conn, bufio.NewReader(conn)}
}

// answer is a response that was read to its end.
type answer struct {
	*http.Response
	body    string
	problem struct {
		Status    int
		Code      string
		Detail    string
		RequestID string `json:"request_id"`
	}
}

// send writes raw bytes and reads one answer.
func (w *wire) send(raw string) answer {
	w.tb.Helper()
	if _, err := io.WriteString(w.conn, raw); err != nil {
		w.tb.Fatal(err)
	}
	return w.receive(raw)
}

func (w *wire) receive(raw string) answer {
	w.tb.Helper()
	method, _, _ := strings.Cut(raw, " ")
	response, err := http.ReadResponse(w.reader, &http.Request{Method: method})
	if err != nil {
		w.tb.Fatalf("%.200q: %v", raw, err)
	}
	defer response.Body.Close()
	got := answer{Response: response, body: string(must[[]byte](w.tb)(io.ReadAll(response.Body)))}
	if response.Header.Get("Content-Type") == "application/problem+json" && method != "HEAD" {
		if err := json.Unmarshal([]byte(got.body), &got.problem); err != nil {
			w.tb.Fatalf("%q: %v", got.body, err)
		}
	}
	return got
}

// isClosed waits for the end of the connection, before which nothing else may come, and ends it too.
func (w *wire) isClosed() bool {
	_, err := w.reader.ReadByte()
	return err == io.EOF && w.conn.Close() == nil
}

func get(lines ...string) string { return ask("GET", lines...) }

func ask(method string, lines ...string) string {
	return fmt.Sprintf("%s /verify HTTP/1.1\r\nHost: keygate\r\n%s\r\n", method, strings.Join(append(lines, ""), "\r\n"))
}
