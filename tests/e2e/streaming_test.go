package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// maxResident is what a proxy may take of memory, however much it is carrying.
const maxResident = 100e6

// endless repeats a text of an odd length, so that a piece that is lost, doubled or moved changes the sum of all.
type endless struct {
	text string
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.text[e.at:])
	e.at = (e.at + n) % len(e.text)
	return n, nil
}

// bytesOf are as many bytes as asked for, always the same.
func bytesOf(size int64) io.Reader { return io.LimitReader(&endless{text: longPattern}, size) }

var longPattern = pattern(1<<20 + 7)

// sum is what tells that a stream is whole.
func sum(r io.Reader) (string, error) {
	hash := sha256.New()
	n, err := io.Copy(hash, r)
	return fmt.Sprintf("%d bytes, %s", n, hex.EncodeToString(hash.Sum(nil))), err
}

// startStore takes bodies, telling their sum, and gives them, as long as the target says: /1024 or /1024/chunked.
func startStore(tb testing.TB) string {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, inChunks := strings.CutSuffix(r.URL.Path[1:], "/chunked")
		size, _ := strconv.ParseInt(text, 10, 64)
		if r.Method == http.MethodPut {
			if inChunks != (r.ContentLength < 0) {
				w.WriteHeader(http.StatusLengthRequired)
			}
			got, err := sum(r.Body)
			fmt.Fprint(w, got, err)
			return
		}
		if !inChunks {
			w.Header().Set("Content-Length", text)
		}
		_, _ = io.Copy(w, bytesOf(size)) // the client counts
	})}
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	tb.Cleanup(func() {
		_ = server.Close()
		served.Wait()
	})
	return "http://" + listener.Addr().String()
}

// stream carries size bytes in both directions, each with its length known and unknown, and wants the proxy to stay small.
func stream(t *testing.T, size int64) {
	s := newStack(t)
	proxy := s.proxy(startStore(t))
	key := s.createKey("acme")
	want, _ := sum(bytesOf(size))
	web := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	t.Cleanup(web.CloseIdleConnections)
	carry := func(method, suffix string, body io.Reader, length int64) {
		target := fmt.Sprintf("%s/%d%s", proxy.url, size, suffix)
		request, err := http.NewRequestWithContext(t.Context(), method, target, body)
		if err != nil {
			t.Error(err)
			return
		}
		request.ContentLength = length
		request.Header.Set("X-API-Key", key.Key)
		response, err := web.Do(request)
		if err != nil {
			t.Errorf("%s of %d bytes: %v", method, length, err)
			return
		}
		defer response.Body.Close()
		var got string
		if method == http.MethodPut {
			text, failed := io.ReadAll(response.Body)
			got, err = strings.TrimSuffix(string(text), "<nil>"), failed
		} else {
			got, err = sum(response.Body)
		}
		if err != nil || response.StatusCode != http.StatusOK || got != want || (response.ContentLength < 0) != (suffix != "" && body == nil) {
			t.Errorf("%s of %d bytes%s is answered %d, %s, %v; wanted %s", method, size, suffix, response.StatusCode, got, err, want)
		}
	}
	began := time.Now()
	var all sync.WaitGroup
	all.Go(func() { carry(http.MethodPut, "", bytesOf(size), size) })
	all.Go(func() { carry(http.MethodPut, "/chunked", bytesOf(size), -1) })
	all.Go(func() { carry(http.MethodGet, "", nil, 0) })
	all.Go(func() { carry(http.MethodGet, "/chunked", nil, 0) })
	all.Wait()
	peak, known := peakMemory(proxy.cmd.Process.Pid)
	if known && peak > maxResident {
		t.Errorf("the proxy took %d bytes of memory", peak)
	}
	t.Logf("4 × %d MiB in %v, with %.1f MB resident at most", size>>20, time.Since(began).Round(time.Millisecond), float64(peak)/1e6)
}

func TestBodiesOfAnyLengthPassThroughLittleMemory(t *testing.T) {
	t.Parallel()
	stream(t, 64<<20)
}

// What one side does not take, the other side keeps.
func TestWhoDoesNotReadFillsNoMemory(t *testing.T) {
	t.Parallel()
	const tooMuch = 64 << 20
	took := make(chan int, 1)
	done := make(chan struct{})
	s := newStack(t)
	proxy := s.proxy(startBackend(t, func(p *peer) {
		if seen, _ := p.head(); strings.HasPrefix(seen.line, "GET ") {
			p.send("HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(10*tooMuch) + "\r\n\r\n")
			took <- takesAtMost(p, tooMuch)
		}
		<-done
	}).url)
	defer close(done)
	key := "X-API-Key: " + s.createKey("acme").Key
	reads := dial(t, proxy.addr)
	reads.send(request("GET", "/", "", key))
	if n := <-took; n >= tooMuch {
		t.Errorf("of an answer that nobody reads, the proxy took %d bytes", n)
	}
	writes := dial(t, proxy.addr)
	writes.send("POST / HTTP/1.1\r\nHost: api.example.com\r\n" + key + "\r\nContent-Length: " + strconv.Itoa(10*tooMuch) + "\r\n\r\n")
	if n := takesAtMost(writes.conn, tooMuch); n >= tooMuch {
		t.Errorf("of a body that nobody reads, the proxy took %d bytes", n)
	}
}

// Server-sent events: the next is sent only once the client has told, by another way, that it has the one before.
func TestEachEventOfAStreamReachesTheClientBeforeTheNext(t *testing.T) {
	t.Parallel()
	for framing, piece := range map[string]func(string) string{
		"Transfer-Encoding: chunked": func(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) },
		"Connection: close":          func(text string) string { return text },
		"Content-Length: 1000000":    func(text string) string { return text },
	} {
		t.Run(framing, func(t *testing.T) {
			t.Parallel()
			arrived := make(chan bool)
			s := newStack(t)
			proxy := s.proxy(startBackend(t, func(p *peer) {
				p.request()
				p.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + framing + "\r\n\r\n")
				for n := 0; <-arrived; n++ {
					p.send(piece(serverEvent(n)))
				}
			}).url)
			defer close(arrived)
			w := dial(t, proxy.addr)
			w.send(request("GET", "/", "", "X-API-Key: "+s.createKey("acme").Key, "Accept: text/event-stream"))
			response, err := http.ReadResponse(w.reader, nil) // the head comes before any of the body
			if err != nil || response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
				t.Fatal(response, err)
			}
			for n := range 100 {
				arrived <- true
				got := make([]byte, len(serverEvent(n)))
				if _, err := io.ReadFull(response.Body, got); err != nil || string(got) != serverEvent(n) {
					t.Fatalf("event %d arrives as %q, %v", n, got, err)
				}
			}
		})
	}
}

func serverEvent(n int) string { return fmt.Sprintf("id: %d\ndata: {\"n\":%d}\n\n", n, n) }
