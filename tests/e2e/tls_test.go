package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"keygate/tests/servers"
)

// secured is a proxy that serves HTTPS, and the files it does it with.
type secured struct {
	*service
	authority *authority
	cert, key string
	secret    string // what the key file holds
}

func secure(tb testing.TB, s *stack, upstream string, args ...string) *secured {
	tb.Helper()
	dir := tb.TempDir()
	p := &secured{authority: newAuthority(tb), cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
	p.replace(tb)
	p.service = s.proxy(upstream, append(args, "--tls-cert", p.cert, "--tls-key", p.key)...)
	return p
}

// replace writes a new certificate and its key, and returns the certificate.
func (p *secured) replace(tb testing.TB) []byte {
	tb.Helper()
	issued := p.authority.issue(tb, time.Hour, "127.0.0.1")
	secret, err := x509.MarshalPKCS8PrivateKey(issued.PrivateKey)
	if err != nil {
		tb.Fatal(err)
	}
	p.secret = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	p.write(tb, p.cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issued.Certificate[0]})))
	p.write(tb, p.key, p.secret)
	return issued.Certificate[0]
}

func (p *secured) write(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// try connects. Most is the highest version that this client speaks; 0 for any.
func (p *secured) try(most uint16) (*tls.Conn, error) {
	roots := x509.NewCertPool()
	roots.AddCert(p.authority.certificate)
	dialer := &net.Dialer{Timeout: patience}
	return tls.DialWithDialer(dialer, "tcp", p.addr, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: most, NextProtos: []string{"h2", "http/1.1"}})
}

func (p *secured) dial(tb testing.TB) *wire {
	tb.Helper()
	conn, err := p.try(0)
	if err != nil {
		tb.Fatal(err)
	}
	return wrap(tb, conn)
}

func TestClientsAreServedByHTTPSAlone(t *testing.T) {
	t.Parallel()
	s := newEdge(t)
	api := startUpstream(t, nil)
	proxy := secure(t, s, api.url)
	key := "X-API-Key: " + s.createKey("acme").Key
	w := proxy.dial(t)
	for _, text := range []string{request("GET", "/", "", key), request("POST", "/", pattern(300<<10), key),
		chunked("POST", "/", []string{key}, []string{"a", pattern(100 << 10)}, nil)} {
		w.send(text)
		if got := w.receive("POST"); got.status != http.StatusOK {
			t.Fatalf("over TLS, a request is answered %v", got)
		}
		if got := api.one(t); fmt.Sprint(got.values("x-forwarded-proto")) != "[https]" {
			t.Errorf("the API sees the scheme %q", got.values("x-forwarded-proto"))
		}
	}
	if state := w.conn.(*tls.Conn).ConnectionState(); state.NegotiatedProtocol != "http/1.1" {
		t.Errorf("agreed on %q", state.NegotiatedProtocol)
	}
	for version, taken := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := proxy.try(version)
		if (err == nil) != taken {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
	plain := dial(t, proxy.addr)
	plain.send(request("GET", "/", "", key))
	if got := plain.receive("GET"); got.status != http.StatusBadRequest {
		t.Errorf("without TLS, a request is answered %v", got)
	}
	if seen := api.all(); len(seen) != 0 {
		t.Errorf("the API has seen %q", seen)
	}
}

// A tunnel and an idle connection outlive a change of the certificate, and a broken one changes nothing.
func TestANewCertificateIsUsedByNewConnectionsAlone(t *testing.T) {
	t.Parallel()
	s := newEdge(t)
	proxy := secure(t, s, startLastingAPI(t).url)
	key := "X-API-Key: " + s.createKey("acme").Key
	tunnel := proxy.dial(t)
	tunnel.send(request("GET", "/websocket/x", "", key, "Connection: Upgrade", "Upgrade: websocket"))
	if line, err := readLine(tunnel.reader); err != nil || !strings.HasPrefix(line, "HTTP/1.1 101 ") {
		t.Fatal(line, err)
	}
	if _, err := readLines(tunnel.reader); err != nil {
		t.Fatal(err)
	}
	echoes := func(text string) {
		t.Helper()
		tunnel.send(text)
		got := make([]byte, len(text))
		if _, err := io.ReadFull(tunnel.reader, got); err != nil || string(got) != text {
			t.Fatalf("the tunnel carries %q back, %v", got, err)
		}
	}
	echoes("before")
	shown := func() string {
		conn, err := proxy.try(0)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return string(conn.ConnectionState().PeerCertificates[0].Raw)
	}
	want := string(proxy.replace(t))
	eventually(t, "the new certificate to be shown", func() bool { return shown() == want })
	echoes("after")

	good := proxy.secret
	proxy.write(t, proxy.key, strings.Replace(good, "M", "A", 1))
	eventually(t, "the broken key to be complained about", func() bool { return strings.Contains(proxy.stderr.String(), "keeping the old one") })
	if shown() != want {
		t.Error("a broken key has changed the certificate")
	}
	echoes("at last")
	_ = tunnel.conn.Close()
	web := newClient(t)
	printed := fmt.Sprint(web.get(proxy.admin+"/metrics"), web.get(proxy.admin+"/v1/stats"), web.get(proxy.admin+"/debug/pprof/goroutine?debug=2"))
	proxy.stop(syscall.SIGTERM)
	for _, line := range strings.Split(strings.TrimSpace(good), "\n")[1:3] {
		keeps(t, "the proxy", printed+proxy.output(), line)
	}
}

func TestConnectionsAreBoundedInAllAndByAddress(t *testing.T) {
	t.Parallel()
	s := newEdge(t)
	api := named(t, "ok")
	key := "X-API-Key: " + s.createKey("acme").Key
	for _, test := range []struct{ flag, listen string }{
		{"--max-connections", "127.0.0.1"}, {"--max-connections-per-address", "127.0.0.1"}, {"--max-connections-per-address", "[::1]"},
	} {
		t.Run(test.flag+" on "+test.listen, func(t *testing.T) {
			t.Parallel()
			addr := servers.FreeAddr(t)
			addr = test.listen + addr[strings.LastIndexByte(addr, ':'):]
			proxy := serveAt(t, proxyProgram, addr, s.env, "--upstream", api.url, test.flag, "8").ready()
			var open []*wire
			for range 8 {
				w := dial(t, proxy.addr)
				w.send(request("GET", "/", "", key))
				if got := w.receive("GET"); got.status != http.StatusOK {
					t.Fatalf("connection %d is answered %v", len(open), got)
				}
				open = append(open, w)
			}
			for range 20 {
				dial(t, proxy.addr).receive("GET").refuses(t, 503, "unavailable")
			}
			for _, w := range open {
				w.send(request("GET", "/", "", key))
				if got := w.receive("GET"); got.status != http.StatusOK {
					t.Errorf("a connection that was open is answered %v", got)
				}
			}
			_ = open[0].conn.Close()
			eventually(t, "a place to be free again", func() bool {
				conn, err := net.Dial("tcp", proxy.addr)
				if err != nil {
					return false
				}
				defer conn.Close()
				w := wrap(t, conn)
				_, _ = io.WriteString(conn, request("GET", "/", "", key))
				line, _ := readLine(w.reader)
				return strings.Contains(line, " 200 ")
			})
		})
	}
}
