package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// upstream is an API behind a proxy. It keeps the bytes of every request as they came over the wire.
type upstream struct {
	addr, url string
	respond   func(seen) string

	listener net.Listener
	group    sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	seen  []seen
}

// seen is one request as the upstream saw it.
type seen struct {
	line     string   // the request line
	headers  []string // the lines of the header section, in their order
	body     string   // without the framing of chunks
	trailers []string
}

// startUpstream serves until the test ends. A nil respond answers every request with 200 and "ok".
func startUpstream(tb testing.TB, respond func(seen) string) *upstream {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	if respond == nil {
		respond = func(seen) string { return response("200 OK", "ok") }
	}
	u := &upstream{addr: listener.Addr().String(), respond: respond, listener: listener}
	u.url = "http://" + u.addr
	u.group.Go(u.accept)
	tb.Cleanup(u.close)
	return u
}

// response writes a response out, with the length of its body.
func response(status, body string, lines ...string) string {
	head := "HTTP/1.1 " + status + "\r\n"
	for _, line := range lines {
		head += line + "\r\n"
	}
	return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
}

func (u *upstream) accept() {
	for {
		conn, err := u.listener.Accept()
		if err != nil {
			return
		}
		u.mu.Lock()
		u.conns = append(u.conns, conn)
		u.mu.Unlock()
		u.group.Go(func() { u.serve(conn) })
	}
}

func (u *upstream) serve(conn net.Conn) {
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for {
		request, err := readSeen(reader)
		if err != nil {
			return
		}
		u.mu.Lock()
		u.seen = append(u.seen, request)
		u.mu.Unlock()
		answer := u.respond(request)
		if strings.HasPrefix(request.line, "HEAD ") {
			answer, _, _ = strings.Cut(answer, "\r\n\r\n")
			answer += "\r\n\r\n"
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
	}
}

func readSeen(reader *bufio.Reader) (s seen, err error) {
	if s.line, err = readLine(reader); err != nil {
		return s, err
	}
	if s.headers, err = readLines(reader); err != nil {
		return s, err
	}
	return s, s.readBody(reader)
}

func (s *seen) readBody(reader *bufio.Reader) error {
	if length := s.values("content-length"); len(length) == 1 {
		n, err := strconv.Atoi(length[0])
		if err != nil {
			return err
		}
		body := make([]byte, n)
		_, err = io.ReadFull(reader, body)
		s.body = string(body)
		return err
	}
	if len(s.values("transfer-encoding")) == 1 {
		body, err := io.ReadAll(httputil.NewChunkedReader(reader))
		if err != nil {
			return err
		}
		s.body = string(body)
		s.trailers, err = readLines(reader)
		return err
	}
	return nil
}

// readLines reads up to an empty line.
func readLines(reader *bufio.Reader) (lines []string, err error) {
	for {
		line, err := readLine(reader)
		if err != nil || line == "" {
			return lines, err
		}
		lines = append(lines, line)
	}
}

func readLine(reader *bufio.Reader) (string, error) {
	line, err := reader.ReadString('\n')
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), err
}

// values are those of all headers of a name, which is given in lower case, as the least careful reader would find
// them: in any case, and with any punctuation for "-".
func (s seen) values(name string) (values []string) {
	for _, line := range slices.Concat(s.headers, s.trailers) {
		if key, value, _ := strings.Cut(line, ":"); fold(key) == name {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}

func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
}

// all returns what was seen since it was last asked.
func (u *upstream) all() []seen {
	u.mu.Lock()
	defer u.mu.Unlock()
	got := u.seen
	u.seen = nil
	return got
}

// one returns the only request since it was last asked. A request is noted before it is answered.
func (u *upstream) one(tb testing.TB) seen {
	tb.Helper()
	got := u.all()
	if len(got) != 1 {
		tb.Fatalf("the upstream has seen %d requests instead of one: %q", len(got), got)
	}
	return got[0]
}

func (u *upstream) close() {
	_ = u.listener.Close()
	u.mu.Lock()
	for _, conn := range u.conns {
		_ = conn.Close()
	}
	u.mu.Unlock()
	u.group.Wait()
}
