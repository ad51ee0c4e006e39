package certificate_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"keygate/shared/certificate"
	"keygate/shared/certificate/certtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a listener that answers each byte by the same, with a certificate that the test replaces.
type fixture struct {
	tb       testing.TB
	dir      string
	keeper   *certificate.Keeper
	registry *prometheus.Registry
	log      bytes.Buffer
	address  string
	readers  sync.WaitGroup
}

const (
	timeout = 5 * time.Second // of handshakes
	plain   = "HTTP/1.1 400 Bad Request\r\n\r\n"
)

func keep(tb testing.TB, first certtest.Pair) *fixture {
	tb.Helper()
	f := &fixture{tb: tb, dir: tb.TempDir(), registry: prometheus.NewRegistry()}
	cert, key := first.Write(tb, f.dir)
	var err error
	f.keeper, err = certificate.Open(certificate.Config{
		CertFile: cert, KeyFile: key,
		Logger: slog.New(slog.NewTextHandler(&f.log, nil)), Metrics: certificate.NewMetrics(f.registry, "proxy"),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

func start(tb testing.TB, first certtest.Pair) *fixture {
	tb.Helper()
	f := keep(tb, first)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	f.address = ln.Addr().String()
	secured := f.keeper.Listen(ln, timeout, []byte(plain))
	f.readers.Go(func() {
		for {
			c, err := secured.Accept()
			if err != nil {
				return
			}
			f.readers.Go(func() {
				_ = c.SetReadDeadline(time.Now().Add(timeout))
				_, _ = io.Copy(c, c)
				_ = c.Close()
			})
		}
	})
	tb.Cleanup(func() {
		_ = secured.Close()
		f.readers.Wait()
	})
	return f
}

func (f *fixture) path(name string) string { return filepath.Join(f.dir, name) }

func (f *fixture) write(name string, text []byte) {
	f.tb.Helper()
	if err := os.WriteFile(f.path(name), text, 0o600); err != nil {
		f.tb.Fatal(err)
	}
}

// look has the keeper look at the files as often as it takes to believe them.
func (f *fixture) look() { f.keeper.Look(); f.keeper.Look() }

func (f *fixture) dial(change ...func(*tls.Config)) (*tls.Conn, error) {
	cfg := &tls.Config{InsecureSkipVerify: true}
	for _, c := range change {
		c(cfg)
	}
	return tls.DialWithDialer(&net.Dialer{Timeout: timeout}, "tcp", f.address, cfg)
}

// presents wants a certificate to be presented to new connections.
func (f *fixture) presents(want certtest.Pair) {
	f.tb.Helper()
	conn, err := f.dial()
	if err != nil {
		f.tb.Fatal(err)
	}
	defer conn.Close()
	f.echoes(conn)
	if got := conn.ConnectionState().PeerCertificates[0].DNSNames[0]; got != want.Name {
		f.tb.Errorf("the certificate is %s instead of %s", got, want.Name)
	}
	if got := f.metric("keygate_proxy_tls_certificate_expiry_timestamp_seconds"); got != float64(want.Expires.Unix()) {
		f.tb.Errorf("the certificate expires at %v, not %v", got, want.Expires.Unix())
	}
}

func (f *fixture) echoes(conn net.Conn) {
	f.tb.Helper()
	got := make([]byte, 1)
	if _, err := conn.Write([]byte("x")); err != nil {
		f.tb.Error(err)
	} else if _, err := conn.Read(got); err != nil || string(got) != "x" {
		f.tb.Errorf("read %q, %v", got, err)
	}
}

func (f *fixture) metric(series string) float64 {
	f.tb.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		f.tb.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += "." + label.GetValue()
			}
			if name == series {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	f.tb.Fatalf("no series %s", series)
	return 0
}

func TestANewCertificateIsUsedAndOpenConnectionsGoOn(t *testing.T) {
	first := certtest.Issue(t, "first")
	f := start(t, first)
	f.presents(first)
	open, err := f.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	f.echoes(open)

	replace := map[string]func(certtest.Pair){
		"written": func(next certtest.Pair) {
			f.write("cert.pem", next.Cert)
			f.keeper.Look() // the two do not belong together yet
			f.write("key.pem", next.Key)
		},
		"renamed": func(next certtest.Pair) {
			for name, text := range map[string][]byte{"cert.pem": next.Cert, "key.pem": next.Key} {
				f.write("new", text)
				if err := os.Rename(f.path("new"), f.path(name)); err != nil {
					t.Fatal(err)
				}
			}
		},
		"switched": func(next certtest.Pair) { // as Kubernetes does: what is read is a link into a directory that is a link itself
			for name, text := range map[string][]byte{"cert.pem": next.Cert, "key.pem": next.Key} {
				link := filepath.Join(f.dir, next.Name)
				if err := errors.Join(os.MkdirAll(link, 0o700), os.WriteFile(filepath.Join(link, name), text, 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(os.Symlink(next.Name, f.path("..tmp")), os.Rename(f.path("..tmp"), f.path("..data"))); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"cert.pem", "key.pem"} {
				_ = os.Remove(f.path(name))
				if err := os.Symlink("..data/"+name, f.path(name)); err != nil {
					t.Fatal(err)
				}
			}
		},
	}
	for i, how := range []string{"written", "renamed", "switched", "switched"} {
		next := certtest.Issue(t, fmt.Sprint(how, i))
		replace[how](next)
		f.look()
		f.presents(next)
		f.echoes(open)
		if got := f.metric("keygate_proxy_tls_certificate_reloads_total.loaded"); got != float64(i+1) {
			t.Errorf("%s: %v loaded", how, got)
		}
	}
	f.look()
	if lines := strings.Count(f.log.String(), "\n"); lines != 4 || f.metric("keygate_proxy_tls_certificate_reloads_total.refused") != 0 {
		t.Errorf("logged %s", f.log.String())
	}
}

func TestABrokenPairIsNotUsedAndToldOnce(t *testing.T) {
	first, second := certtest.Issue(t, "first"), certtest.Issue(t, "second")
	f := start(t, first)
	broken := 0
	f.refuses(first, &broken, func() { f.write("cert.pem", second.Cert) })
	f.refuses(first, &broken, func() { f.write("cert.pem", second.Cert[:100]) })
	f.refuses(first, &broken, func() { f.write("cert.pem", nil) })
	f.refuses(first, &broken, func() { os.Remove(f.path("cert.pem")) })
	f.refuses(first, &broken, func() { f.write("cert.pem", first.Cert); f.write("key.pem", []byte("nonsense")) })
	f.refuses(first, &broken, func() { os.Remove(f.path("key.pem")) })
	f.write("key.pem", second.Key)
	f.write("cert.pem", second.Cert)
	f.look()
	f.presents(second)
	if secret := strings.Split(string(first.Key), "\n")[1]; strings.Contains(f.log.String(), secret) {
		t.Error("the key is in the log")
	}
}

func (f *fixture) refuses(inUse certtest.Pair, broken *int, breakIt func()) {
	f.tb.Helper()
	breakIt()
	f.look()
	f.look()
	*broken++
	f.presents(inUse)
	if lines := strings.Count(f.log.String(), "keeping the old one"); lines != *broken {
		f.tb.Errorf("told %d times of %d: %s", lines, *broken, f.log.String())
	}
	if got := f.metric("keygate_proxy_tls_certificate_reloads_total.refused"); got != float64(*broken) {
		f.tb.Errorf("%v are counted as refused", got)
	}
}

func TestRunLooksEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := keep(t, certtest.Issue(t, "first"))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.keeper.Run(ctx) }()
		next := certtest.Issue(t, "second")
		f.write("cert.pem", next.Cert)
		f.write("key.pem", next.Key)
		time.Sleep(2*time.Second + time.Millisecond)
		stop()
		if err := <-done; err != nil || f.metric("keygate_proxy_tls_certificate_reloads_total.loaded") != 1 {
			t.Errorf("%v; %s", err, f.log.String())
		}
	})
}

func TestAPairThatCannotBeUsedIsAnErrorAtTheStart(t *testing.T) {
	first, second := certtest.Issue(t, "first"), certtest.Issue(t, "second")
	f := func(want string, cert, key []byte) {
		t.Helper()
		dir := t.TempDir()
		cfg := certificate.Config{CertFile: filepath.Join(dir, "c"), KeyFile: filepath.Join(dir, "k"), Metrics: certificate.NewMetrics(prometheus.NewRegistry(), "proxy")}
		for name, text := range map[string][]byte{cfg.CertFile: cert, cfg.KeyFile: key} {
			if text != nil {
				if err := os.WriteFile(name, text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := certificate.Open(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("c: no such file", nil, first.Key)
	f("k: no such file", first.Cert, nil)
	f("does not match", second.Cert, first.Key)
	f("failed to find any PEM data", []byte("nonsense"), first.Key)
}
