package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// target is one upstream and the connections to it.
type target struct {
	set              *Set
	name             string // as metrics and logs call it
	network, address string
	tls              *tls.Config // nil: plain

	failures atomic.Int32 // in a row
	outUntil atomic.Int64 // until when it sits out, Unix nanoseconds

	mu     sync.Mutex // held for a few instructions
	idle   []idleConn // the one used last at the end, and taken first: the others may grow old
	open   int        // connections idle, in use and being dialled
	closed bool
	sweep  *time.Timer // nil while nothing is idle
}

// target reads an upstream URL. Groups that name the same one share it. No error quotes what may hold a password.
func (s *Set) target(text string) (*target, error) {
	if t := s.targets[text]; t != nil {
		return t, nil
	}
	t := &target{set: s, name: text, network: "unix"}
	if path, ok := strings.CutPrefix(text, "unix:"); ok && strings.HasPrefix(path, "/") {
		t.address = path
		s.targets[text] = t
		return t, nil
	}
	u, err := url.Parse(text)
	if err != nil {
		u = new(url.URL)
	}
	port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	switch {
	case port == "" || u.Hostname() == "":
		return nil, errors.New("an upstream URL is none of http://host:port, https://host:port and unix:/path")
	case u.User != nil:
		return nil, fmt.Errorf("upstream %s: a URL may not hold user and password", u.Redacted())
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("upstream %q: a URL may hold neither path nor query, since requests keep their own", text)
	}
	t.network, t.address = "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
	if u.Scheme == "https" {
		if t.tls = s.cfg.TLS.Clone(); t.tls == nil {
			t.tls = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		t.tls.ServerName, t.tls.NextProtos = u.Hostname(), []string{"http/1.1"}
	}
	s.targets[text] = t
	return t, nil
}

func (t *target) dial() (*Conn, error) {
	ctx, cancel := context.WithTimeout(t.set.ctx, t.set.cfg.ConnectTimeout)
	defer cancel()
	socket, err := new(net.Dialer).DialContext(ctx, t.network, t.address)
	if err != nil || t.tls == nil {
		return newConn(socket, socket, t), err
	}
	secure := tls.Client(socket, t.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		socket.Close()
		return nil, fmt.Errorf("agreeing on TLS: %w", err)
	}
	return newConn(secure, socket, t), nil
}
