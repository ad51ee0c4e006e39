package server_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"keygate/writer/sinktest"
)

// A sender is a client that sends a request to /v1/events/batch piece by piece.
type sender struct {
	*fixture
	conn net.Conn
}

func (f *fixture) dial(org, contentType string, length int) *sender {
	f.tb.Helper()
	conn, err := net.Dial("tcp", f.address)
	if err != nil {
		f.tb.Fatal(err)
	}
	f.tb.Cleanup(func() { conn.Close() })
	r := f.request("/v1/events/batch", contentType, "", func(r *http.Request) { r.Header.Set("X-Org-Id", org); f.sign(r) })
	fmt.Fprintf(conn, "POST /v1/events/batch HTTP/1.1\r\nHost: w\r\n")
	if length < 0 {
		r.Header.Set("Transfer-Encoding", "chunked")
	} else {
		r.Header.Set("Content-Length", fmt.Sprint(length))
	}
	if err := r.Header.Write(conn); err != nil {
		f.tb.Fatal(err)
	}
	io.WriteString(conn, "\r\n")
	return &sender{f, conn}
}

// answer reads the answer, and returns its status and code.
func (s *sender) answer() (status int, code any) {
	s.tb.Helper()
	response, err := http.ReadResponse(bufio.NewReader(s.conn), nil)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer response.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		s.tb.Fatal(err)
	}
	return response.StatusCode, answer["code"]
}

// lines is an NDJSON body of at least so many bytes, at most 100 events and a multiple of 1,000 bytes.
func lines(size int) string {
	line := `{"type":"t","payload":{"a":"` + strings.Repeat("x", (size+99)/100) + `"}}`
	return strings.Repeat(line+strings.Repeat(" ", 999-len(line)%1000)+"\n", 100)
}

func TestABatchInManyChunksIsOneBatch(t *testing.T) {
	f := start(t)
	s := f.dial("org-1", "application/json", -1)
	for _, piece := range []string{"[", one[:20], one[20:], ",", one + "," + one, "]", " "} {
		fmt.Fprintf(s.conn, "%x\r\n%s\r\n", len(piece), piece)
	}
	io.WriteString(s.conn, "0\r\n\r\n")
	if status, _ := s.answer(); status != 200 || len(f.commit.events) != 3 {
		t.Errorf("got %d and %d events", status, len(f.commit.events))
	}
}

// Line by line it looks like a batch that is complete, and so it does to the HTTP library.
func TestABatchThatIsCutOffStoresNothing(t *testing.T) {
	f := start(t)
	body := lines(200_000)
	for _, sent := range []int{1000, 10_000, 100_000} {
		s := f.dial("org-1", "application/x-ndjson", len(body))
		io.WriteString(s.conn, body[:sent])
		if err := s.conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if status, code := s.answer(); status != 400 || code != "bad_request" {
			t.Errorf("got %d %v after %d bytes", status, code, sent)
		}
	}
	if n := len(f.commit.events); n != 0 {
		t.Errorf("%d events were stored", n)
	}
}

func TestABatchThatIsMalformedAtItsEndStoresNothing(t *testing.T) {
	f := start(t)
	body := "[" + strings.Repeat(one+",", 999) + one + "}"
	status, _, answer := f.send(f.request("/v1/events/batch", "application/json", body))
	if status != 400 || answer["code"] != "batch_malformed" || len(f.commit.events) != 0 {
		t.Errorf("got %d %v and %d events", status, answer, len(f.commit.events))
	}
}

// Two MiB may arrive at a time, and one of an organisation.
func TestBodiesOnTheirWayAreBounded(t *testing.T) {
	f := start(t)
	body := lines(600_000)
	const most = 590_000
	var arriving []*sender
	arrives := func(org string) {
		s := f.dial(org, "application/x-ndjson", len(body))
		io.WriteString(s.conn, body[:most])
		arriving = append(arriving, s)
		sinktest.Await(t, "most of it is there", func() bool { return f.server.Arriving() == most*len(arriving) })
	}
	refused := func(org string) {
		t.Helper()
		if status, code := f.batchOf(org, body); status != 503 || code != "queue_full" {
			t.Errorf("another batch of %s: got %d %v", org, status, code)
		}
	}
	arrives("a")
	refused("a")
	arrives("b")
	arrives("c")
	refused("d")
	if status, _ := f.batchOf("d", one); status != 200 {
		t.Errorf("a small batch: got %d", status)
	}
	for _, s := range arriving {
		io.WriteString(s.conn, body[most:])
		if status, _ := s.answer(); status != 200 {
			t.Errorf("got %d", status)
		}
	}
	if status, _ := f.batchOf("a", body); status != 200 || f.server.Arriving() != 0 {
		t.Errorf("after all have arrived: got %d, and %d bytes are held", status, f.server.Arriving())
	}
}

func (f *fixture) batchOf(org, body string) (status int, code any) {
	f.tb.Helper()
	s := f.dial(org, "application/x-ndjson", len(body))
	io.WriteString(s.conn, body)
	return s.answer()
}
