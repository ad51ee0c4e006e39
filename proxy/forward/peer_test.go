package forward_test

import (
	"bufio"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"strings"
	"testing"
	"time"
)

// peer is one connection as a test sees it, with a deadline on everything.
type peer struct {
	tb testing.TB
	net.Conn
	r *bufio.Reader
}

func newPeer(tb testing.TB, c net.Conn) *peer {
	_ = c.SetDeadline(time.Now().Add(patience))
	return &peer{tb: tb, Conn: c, r: bufio.NewReader(c)}
}

func (p *peer) send(text string) {
	_, _ = io.WriteString(p.Conn, text)
}

// head reads up to and including an empty line, "" at the end of the connection.
func (p *peer) head() string {
	var head strings.Builder
	for {
		line, err := p.r.ReadString('\n')
		head.WriteString(line)
		if err != nil {
			return ""
		}
		if line == "\r\n" {
			return head.String()
		}
	}
}

// message is a request or an answer as it came over the wire.
type message struct {
	head string // with the empty line
	body string // without framing
	cut  bool   // the body broke off
}

func (m message) line() string { return m.head[:strings.Index(m.head, "\r\n")] }

func (m message) status() int {
	status, _ := strconv.Atoi(strings.Fields(m.head + " 0 0")[1])
	return status
}

// values returns what the header lines of one name hold, in order.
func (m message) values(name string) []string {
	var values []string
	for _, line := range strings.Split(m.head, "\r\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(key, name) {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}

func (m message) value(name string) string { return strings.Join(m.values(name), "|") }

// message reads a whole message. A message without framing has a body only if untilClose is set.
func (p *peer) message(untilClose bool) (m message, ok bool) {
	m.head = p.head()
	if m.head == "" {
		return m, false
	}
	var body []byte
	var err error
	switch {
	case m.status() == 204 || m.status() == 304:
	case m.value("Transfer-Encoding") != "":
		body, err = io.ReadAll(httputil.NewChunkedReader(p.r))
		if err == nil {
			p.head()
		}
	case m.value("Content-Length") != "":
		n, _ := strconv.Atoi(m.value("Content-Length"))
		body = make([]byte, n)
		n, err = io.ReadFull(p.r, body)
		body = body[:n]
	case untilClose:
		body, err = io.ReadAll(p.r)
	}
	m.body, m.cut = string(body), err != nil
	return m, true
}

func (p *peer) request() (message, bool) { return p.message(false) }

func (p *peer) answer() message {
	p.tb.Helper()
	m, ok := p.message(false)
	if !ok {
		p.tb.Fatal("the connection ended before an answer")
	}
	return m
}
