package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const answer = "HTTP/1.1 201 Created\r\nServer: test\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

// serve gives every connection to handle and returns the address; it waits for the handlers at the end.
func serve(tb testing.TB, handle func(net.Conn)) string {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			handle(conn)
			conn.Close()
		}
	}()
	tb.Cleanup(func() {
		listener.Close()
		<-done
	})
	return listener.Addr().String()
}

// dial connects, and hangs up before serve waits for its handlers.
func dial(tb testing.TB, address string, timeout time.Duration) *Conn {
	tb.Helper()
	c, err := Dial(tb.Context(), address, timeout)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

// say answers each request of size bytes with text, piece bytes at a time.
func say(size int, text string, piece int) func(net.Conn) {
	return func(conn net.Conn) {
		request, whole := make([]byte, size), []byte(text)
		for {
			if _, err := io.ReadFull(conn, request); err != nil {
				return
			}
			for rest := whole; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
				if _, err := conn.Write(rest[:min(piece, len(rest))]); err != nil {
					return
				}
			}
		}
	}
}

func TestAnswersOfEveryFormAreRead(t *testing.T) {
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
	const closing = "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	long := strings.Repeat("x", 100_000)
	for name, c := range map[string]struct {
		answer string
		status int
		body   string
		closes bool
	}{
		"with a length":        {answer, 201, "{}", false},
		"lower case":           {"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, "ok", false},
		"no body":              {"HTTP/1.1 204 No Content\r\n\r\n", 204, "", false},
		"chunked":              {chunked, 200, "abc", false},
		"long":                 {"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + long, 200, long, false},
		"after an interim one": {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer, 201, "{}", false},
		"and then closing":     {closing, 401, "", true},
		"HTTP/1.0":             {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true},
	} {
		for _, piece := range []int{1 << 20, 7} {
			t.Run(fmt.Sprintf("%s/piece=%d", name, piece), func(t *testing.T) {
				conn := dial(t, serve(t, say(4, c.answer, piece)), 10*time.Second)
				for range 2 {
					reply, err := conn.Exchange([]byte("ping"), time.Now())
					if err != nil || reply.Status != c.status || string(reply.Body) != c.body {
						t.Fatalf("got %d, %d bytes, %v", reply.Status, len(reply.Body), err)
					}
					if conn.Usable(time.Now()) == c.closes {
						t.Fatalf("usable again: %v", !c.closes)
					}
				}
			})
		}
	}
}

func TestWhatIsNotHTTPIsAnError(t *testing.T) {
	for name, text := range map[string]string{
		"another protocol":     "220 smtp.example ready\r\n",
		"no end of the head":   "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 80<<10),
		"more than its length": "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabc",
		"an absurd length":     "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
		"no status":            "HTTP/1.1 abc\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, serve(t, say(4, text, 1<<20)), 10*time.Second)
			if _, err := conn.Exchange([]byte("ping"), time.Now()); !errors.Is(err, ErrBadResponse) {
				t.Errorf("got %v", err)
			}
			if conn.Usable(time.Now()) {
				t.Error("the connection counts as usable")
			}
		})
	}
}

func TestASilentServerIsGivenUpAfterTheTimeout(t *testing.T) {
	const timeout = 50 * time.Millisecond
	conn := dial(t, serve(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }), timeout)
	began := time.Now()
	_, err := conn.Exchange([]byte("ping"), began)
	if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) < timeout {
		t.Errorf("got %v after %v", err, time.Since(began))
	}
}

func TestAServerThatHangsUpIsAnErrorAndNotAnEndlessWait(t *testing.T) {
	conn := dial(t, serve(t, func(conn net.Conn) { _, _ = io.ReadFull(conn, make([]byte, 4)) }), 10*time.Second)
	if _, err := conn.Exchange([]byte("ping"), time.Now()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

func TestAConnectionClosedWhileIdleIsNoticedBeforeItIsUsed(t *testing.T) {
	closed := make(chan struct{})
	address := serve(t, func(conn net.Conn) {
		_, _ = io.ReadFull(conn, make([]byte, 4))
		_, _ = io.WriteString(conn, answer)
		conn.Close()
		close(closed)
	})
	conn := dial(t, address, 10*time.Second)
	now := time.Now()
	if _, err := conn.Exchange([]byte("ping"), now); err != nil {
		t.Fatal(err)
	}
	<-closed
	if conn.Usable(now.Add(idleBeforeProbe)) {
		t.Error("the connection counts as usable")
	}
}

func TestAConnectionIdleButOpenStaysUsable(t *testing.T) {
	conn := dial(t, serve(t, say(4, answer, 1<<20)), 10*time.Second)
	for i := range 3 {
		now := time.Now().Add(time.Duration(i) * idleBeforeProbe)
		if !conn.Usable(now) {
			t.Fatal("the connection does not count as usable")
		}
		if _, err := conn.Exchange([]byte("ping"), now); err != nil {
			t.Fatal(err)
		}
	}
}

func TestARequestLargerThanTheSocketsBufferIsSentWhole(t *testing.T) {
	request := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	got := make(chan []byte, 1)
	address := serve(t, func(conn net.Conn) {
		received := make([]byte, len(request))
		_, _ = io.ReadFull(conn, received)
		got <- received
		_, _ = io.WriteString(conn, answer)
	})
	conn := dial(t, address, 30*time.Second)
	if _, err := conn.Exchange(request, time.Now()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(<-got, request) {
		t.Error("other bytes arrived")
	}
}

func TestARefusedConnectionIsAnErrorAtOnce(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if _, err := Dial(t.Context(), listener.Addr().String(), time.Second); err == nil {
		t.Error("no error")
	}
}

func TestAnExchangeAllocatesNothing(t *testing.T) {
	conn := dial(t, serve(t, say(4, answer, 1<<20)), time.Minute)
	request := []byte("ping")
	got := testing.AllocsPerRun(500, func() {
		if _, err := conn.Exchange(request, time.Now()); err != nil {
			t.Fatal(err)
		}
	})
	if got > 0 {
		t.Errorf("%v allocations an exchange", got)
	}
}

// The twin uses net.Conn's own Read and Write, which is one system call more.
func BenchmarkExchange(b *testing.B) {
	request := bytes.Repeat([]byte("x"), 350)
	b.Run("by=wire", func(b *testing.B) {
		conn := dial(b, serve(b, say(len(request), answer, 1<<20)), time.Minute)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := conn.Exchange(request, time.Now()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("by=net", func(b *testing.B) {
		conn, err := net.Dial("tcp", serve(b, say(len(request), answer, 1<<20)))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		reply := make([]byte, len(answer))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := conn.Write(request); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(conn, reply); err != nil {
				b.Fatal(err)
			}
		}
	})
}
