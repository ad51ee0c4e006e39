package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// wire is a connection on which a test writes its own bytes.
type wire struct {
	tb     testing.TB
	conn   net.Conn
	reader *bufio.Reader
}

func dial(tb testing.TB, addr string) *wire {
	tb.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	return wrap(tb, conn)
}

func wrap(tb testing.TB, conn net.Conn) *wire {
	tb.Helper()
	tb.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		tb.Fatal(err)
	}
	return &wire{tb, conn, bufio.NewReader(conn)}
}

// send writes text as it is. Whoever refuses a request need not read it all, so a broken connection shows in the answer.
func (w *wire) send(text string) {
	w.tb.Helper()
	_, err := io.WriteString(w.conn, text)
	if err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		w.tb.Fatal(err)
	}
}

// receive reads the answer to a request of that method.
func (w *wire) receive(method string) answer {
	w.tb.Helper()
	response, err := http.ReadResponse(w.reader, &http.Request{Method: method})
	if err != nil {
		w.tb.Fatalf("reading an answer: %v", err)
	}
	got, err := read(response)
	if err != nil {
		w.tb.Fatalf("reading the body of an answer: %v", err)
	}
	if response.Close {
		got.header.Set("Connection", "close")
	}
	return got
}

// isClosed waits for the other side to say something, which has to be that there is nothing more.
func (w *wire) isClosed() bool {
	_, err := w.reader.ReadByte()
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// request writes a request out, with the length of its body. Lines are name: value, without their ends.
func request(method, target, body string, lines ...string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nHost: api.example.com\r\n", method, target)
	for _, line := range lines {
		text.WriteString(line + "\r\n")
	}
	if body != "" || method == http.MethodPost {
		fmt.Fprintf(&text, "Content-Length: %d\r\n", len(body))
	}
	return text.String() + "\r\n" + body
}

// chunked writes a request out whose body comes in the given pieces, followed by trailers.
func chunked(method, target string, lines, pieces, trailers []string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nHost: api.example.com\r\n", method, target)
	for _, line := range append(lines, "Transfer-Encoding: chunked") {
		text.WriteString(line + "\r\n")
	}
	text.WriteString("\r\n")
	for _, piece := range pieces {
		fmt.Fprintf(&text, "%x\r\n%s\r\n", len(piece), piece)
	}
	text.WriteString("0\r\n")
	for _, trailer := range trailers {
		text.WriteString(trailer + "\r\n")
	}
	return text.String() + "\r\n"
}
