package certificate_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"keygate/shared/certificate/certtest"
)

func TestWhichClientsAreTaken(t *testing.T) {
	f := start(t, certtest.Issue(t, "first"))
	check := func(name string, ok bool, change func(*tls.Config)) {
		t.Helper()
		conn, err := f.dial(change)
		if (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			if got := conn.ConnectionState().NegotiatedProtocol; got != "" && got != "http/1.1" {
				t.Errorf("%s: %s was agreed on", name, got)
			}
			conn.Close()
		}
	}
	only := func(version uint16) func(*tls.Config) {
		return func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version }
	}
	check("TLS 1.0", false, only(tls.VersionTLS10))
	check("TLS 1.1", false, only(tls.VersionTLS11))
	check("TLS 1.2", true, only(tls.VersionTLS12))
	check("TLS 1.3", true, only(tls.VersionTLS13))
	check("HTTP/1.1", true, func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} })
	check("HTTP/2 alone", false, func(c *tls.Config) { c.NextProtos = []string{"h2"} })
	for deadline := time.Now().Add(timeout); f.metric("keygate_proxy_tls_handshakes_failed_total") != 3; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%v handshakes are counted as failed", f.metric("keygate_proxy_tls_handshakes_failed_total"))
		}
	}
}

func TestWhoSpeaksNoTLSIsTurnedAway(t *testing.T) {
	f := start(t, certtest.Issue(t, "first"))
	for sent, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n": plain, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": plain, "\x00\x01\x02\x03\x04": "", "hello": "", "x": "",
	} {
		conn, err := net.Dial("tcp", f.address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(timeout))
		if _, err := io.WriteString(conn, sent); err != nil {
			t.Error(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Error(err)
		}
		if got, err := io.ReadAll(conn); string(got) != want || err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%q is answered by %q, %v", sent, got, err)
		}
		conn.Close()
	}
}

// The reader's deadline bounds what the handshake reads, and the listener's timeout what it writes, to a client that
// takes nothing. Neither holds up others.
func TestAHandshakeThatStallsEnds(t *testing.T) {
	for name, stall := range map[string]func(far net.Conn){
		"at its first byte": func(net.Conn) {},
		"in a record":       func(far net.Conn) { _, _ = far.Write([]byte("\x16\x03\x01\x02\x00\x01")) },
		"at its answer": func(far net.Conn) {
			client := tls.Client(writeOnly{far}, &tls.Config{InsecureSkipVerify: true})
			_ = client.Handshake() // its hello is sent; nothing is read
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := keep(t, certtest.Issue(t, "first"))
			near, far := net.Pipe()
			defer far.Close()
			secured := f.keeper.Listen(once{near}, timeout, nil)
			c, err := secured.Accept()
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			go stall(far)
			_ = c.SetReadDeadline(begun.Add(timeout))
			if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF || time.Since(begun) != timeout {
				t.Errorf("%s: read %d, %v after %v", name, n, err, time.Since(begun))
			}
			c.Close()
		})
	}
}

func TestTheTimeForAHandshakeEndsWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := keep(t, certtest.Issue(t, "first"))
		near, far := net.Pipe()
		c, err := f.keeper.Listen(once{near}, timeout, nil).Accept()
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			_, err := io.Copy(c, c)
			done <- errors.Join(err, c.Close())
		}()
		client := tls.Client(far, &tls.Config{InsecureSkipVerify: true})
		f.echoes(client)
		time.Sleep(2 * timeout)
		f.echoes(client)
		far.Close()
		<-done
	})
}

// once accepts one connection.
type once struct{ conn net.Conn }

func (o once) Accept() (net.Conn, error) { return o.conn, nil }
func (o once) Addr() net.Addr            { return o.conn.LocalAddr() }
func (o once) Close() error              { return nil }

// writeOnly has nothing to be read.
type writeOnly struct{ net.Conn }

func (writeOnly) Read([]byte) (int, error) { return 0, io.EOF }
