package upstream_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"keygate/proxy/upstream"
)

// secure starts a service behind TLS with the certificate of net/http/httptest, which is made out to example.com.
func secure(t *testing.T) (*service, *tls.Config) {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	certificates := s.TLS.Certificates
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	s.Close()
	l := tls.NewListener(listen(t, "tcp", "127.0.0.1:0"), &tls.Config{Certificates: certificates, NextProtos: []string{"http/1.1"}})
	return startOn(t, l, "secure"), &tls.Config{RootCAs: roots}
}

func TestTLSIsVerified(t *testing.T) {
	u, trusted := secure(t)
	_, port, _ := net.SplitHostPort(u.Addr().String())
	for _, test := range []struct {
		name, url string
		config    *tls.Config
		works     bool
	}{
		{"trusted", "https://127.0.0.1:" + port, trusted, true},
		{"another name", "https://localhost:" + port, trusted, false},
		{"an unknown authority", "https://127.0.0.1:" + port, nil, false},
	} {
		s := open(t, upstream.Config{TLS: test.config}, test.url)
		for range 3 {
			c, err := s.Route(nil).Get(false)
			if (err == nil) != test.works || err != nil && !errors.Is(err, upstream.ErrUnreachable) {
				t.Fatalf("%s: %v", test.name, err)
			}
			if err == nil {
				if name, err := ask(c); name != "secure" {
					t.Errorf("%s: %q, %v", test.name, name, err)
				}
				c.Release(true)
			}
		}
		if n := s.metric("connections"); test.works && n != 1 {
			t.Errorf("%s: %d connections", test.name, n)
		}
	}
}

func TestConnectingIsBounded(t *testing.T) {
	silent := listen(t, "tcp", "127.0.0.1:0") // it never answers a ClientHello
	defer silent.Close()
	s := open(t, upstream.Config{ConnectTimeout: 100 * time.Millisecond}, "https://"+silent.Addr().String())
	begun := time.Now()
	if _, err := s.Route(nil).Get(false); !errors.Is(err, upstream.ErrUnreachable) {
		t.Error(err)
	}
	if took := time.Since(begun); took < 100*time.Millisecond {
		t.Errorf("given up after %v", took)
	}
}

// Whatever the upstream says or does on a connection that is not in use makes that connection useless, and harmless.
func TestAPooledConnectionIsNotUsedOnceSomethingCanBeRead(t *testing.T) {
	acts := []struct {
		name string
		do   func(c net.Conn)
	}{
		{"an answer", func(c net.Conn) { _, _ = io.WriteString(c, "evil\n") }},
		{"one byte", func(c net.Conn) { _, _ = c.Write([]byte{'\n'}) }},
		{"the end", func(c net.Conn) { _ = c.(interface{ CloseWrite() error }).CloseWrite() }},
		{"a reset", func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); c.Close() }},
	}
	check := func(t *testing.T, u *service, s *set, do func(c net.Conn), exchange func(c *upstream.Conn) error) {
		s.once()
		c := s.get(false)
		do(<-u.conns)
		if err := exchange(c); err != upstream.ErrStale || c.Sent || c.Answered {
			t.Errorf("%v, sent %t, answered %t", err, c.Sent, c.Answered)
		}
		c.Release(false)
		if got := s.once(); got != u.name {
			t.Errorf("%q answered", got)
		}
	}
	whole := func(c *upstream.Conn) error { _, err := ask(c); return err }
	begun := func(c *upstream.Conn) error { return c.Begin([]byte("who?\n"), patience) }
	for _, act := range acts {
		t.Run(act.name, func(t *testing.T) {
			u := start(t, "plain")
			check(t, u, open(t, upstream.Config{}, u.url()), act.do, whole)
			u = start(t, "plain")
			check(t, u, open(t, upstream.Config{}, u.url()), act.do, begun)
			if act.name != "a reset" {
				u, trusted := secure(t)
				check(t, u, open(t, upstream.Config{TLS: trusted}, "https://"+u.Addr().String()), act.do, whole)
			}
		})
	}
}

func TestAConnectionIsReusedOnlyIfNothingIsLeft(t *testing.T) {
	u := start(t, "two\nlines")
	s := open(t, upstream.Config{}, u.url())
	c := s.get(false)
	if _, err := ask(c); err != nil {
		t.Fatal(err)
	}
	_, _ = c.R.Peek(len("lines\n"))
	c.Release(true)
	if n := s.metric("connections"); n != 0 {
		t.Errorf("%d connections", n)
	}
}

// A deadline is kept from one exchange to the next only if it fits.
func TestADeadlineOfAnEarlierExchangeDoesNoHarm(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	defer l.Close()
	s := open(t, upstream.Config{}, "http://"+l.Addr().String())
	c := s.get(false)
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	exchange := func(patience time.Duration, answer func()) error {
		if err := c.Send([]byte("who?\n"), patience); err != nil {
			t.Fatal(err)
		}
		go answer()
		_, err := c.R.ReadString('\n')
		return err
	}
	at := func(after time.Duration) func() {
		return func() { <-time.After(after); _, _ = io.WriteString(peer, "me\n") }
	}
	next := func() { c.Release(true); c = s.get(false) }
	if err := exchange(100*time.Millisecond, func() {}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("without an answer: %v", err)
	}
	next()
	if err := exchange(patience, at(300*time.Millisecond)); err != nil {
		t.Errorf("a longer time after a short one: %v", err)
	}
	next()
	if err := exchange(100*time.Millisecond, func() {}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a shorter time after a long one: %v", err)
	}
	c.Release(false)
	peer.Close()
}

// A request that the socket does not take at once is finished in another way.
func TestAHugeRequestIsSent(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	defer l.Close()
	s := open(t, upstream.Config{}, "http://"+l.Addr().String())
	request := bytes.Repeat([]byte("x"), 16<<20)
	read := make(chan int)
	c := s.get(false)
	go func() {
		peer, err := l.Accept()
		if err != nil {
			return
		}
		defer peer.Close()
		for range 2 {
			n, _ := io.ReadFull(peer, make([]byte, len(request)))
			_, _ = io.WriteString(peer, "me\n")
			read <- n
		}
	}()
	for range 2 { // the second time on a used connection, whose write deadline has passed
		if err := c.Send(request, patience); err != nil {
			t.Fatal(err)
		}
		if line, err := c.R.ReadString('\n'); line != "me\n" || !c.Sent {
			t.Errorf("%q, %v", line, err)
		}
		if n := <-read; n != len(request) {
			t.Errorf("%d bytes arrived", n)
		}
		_ = c.SetWriteDeadline(time.Unix(1, 0))
		c.Release(true)
		c = s.get(false)
	}
	c.Release(false)
}

func TestConnectionsAreBounded(t *testing.T) {
	u := start(t, "a")
	s := open(t, upstream.Config{MaxConns: 2}, u.url())
	one, two := s.get(false), s.get(true)
	if _, err := s.Route(nil).Get(false); !errors.Is(err, upstream.ErrBusy) {
		t.Error(err)
	}
	one.Release(true)
	if one = s.get(true); !one.Reused {
		t.Error("no room, and yet another connection")
	}
	one.Release(true)
	two.Release(false)
	if two = s.get(true); two.Reused {
		t.Error("room, and yet an old connection")
	}
	two.Release(true)
	if n := s.metric("ejections_total") + s.metric("dial_failures_total"); n != 0 {
		t.Errorf("%d failures are counted", n)
	}
}

func TestIdleConnectionsAreClosedInTime(t *testing.T) {
	const idle = 100 * time.Millisecond
	l := listen(t, "tcp", "127.0.0.1:0")
	defer l.Close()
	s := open(t, upstream.Config{IdleTimeout: idle}, "http://"+l.Addr().String())
	s.get(false).Release(true)
	begun := time.Now()
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	_ = peer.SetDeadline(time.Now().Add(patience))
	if _, err := peer.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
	if took := time.Since(begun); took < idle*9/10 {
		t.Errorf("closed after %v", took)
	}
	if n := s.metric("connections"); n != 0 {
		t.Errorf("%d connections are counted", n)
	}
}

func TestAfterCloseNothingIsOpenedOrKept(t *testing.T) {
	u := start(t, "a")
	s := open(t, upstream.Config{}, u.url())
	one, two := s.get(false), s.get(false)
	one.Release(true)
	s.Close()
	two.Release(true)
	if n := s.metric("connections"); n != 0 {
		t.Errorf("%d connections are kept", n)
	}
	if _, err := s.Route(nil).Get(false); !errors.Is(err, upstream.ErrUnreachable) || strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
}
