package e2e

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// drip writes text a byte at a time, until the other side has enough of it.
func drip(conn net.Conn, text string) {
	often(func() bool {
		if text == "" {
			return false
		}
		_, err := io.WriteString(conn, text[:1])
		text = text[1:]
		return err == nil
	})
}

// A head that comes byte by byte is progress to whoever counts from the last byte. It counts from the first.
func TestAHeadThatComesTooSlowlyIsCutHoweverManySendOne(t *testing.T) {
	t.Parallel()
	const limit, many = 500 * time.Millisecond, 300
	s := newEdge(t)
	proxy := s.proxy(named(t, "ok").url, "--header-timeout", limit.String())
	key, web := s.createKey("acme").Key, newClient(t)
	head := strings.TrimSuffix(request("GET", "/", "", "X-API-Key: "+key, "X-Long: "+strings.Repeat("x", 1000)), "\r\n")
	began := time.Now()
	var slow, writing sync.WaitGroup
	for range many {
		conn, err := net.Dial("tcp", proxy.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		writing.Go(func() { drip(conn, head) })
		slow.Go(func() {
			defer conn.Close()
			if answer, err := io.ReadAll(conn); len(answer) > 0 && !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") {
				t.Errorf("the answer is %q, %v", answer, err)
			}
		})
	}
	for range 20 {
		if got := web.get(proxy.url, "X-API-Key", key); got.status != http.StatusOK {
			t.Errorf("meanwhile, an honest client is answered %v", got)
		}
	}
	slow.Wait()
	if took := time.Since(began); took < limit || took > patience/2 {
		t.Errorf("they were cut after %v", took)
	}
	writing.Wait()
	if got := web.get(proxy.url, "X-API-Key", key); got.status != http.StatusOK {
		t.Errorf("afterwards, an honest client is answered %v", got)
	}
}

// Whoever has shown a key may take as long as it needs, as long as it goes on.
func TestABodyMayTakeLongerThanAHead(t *testing.T) {
	t.Parallel()
	s := newEdge(t)
	api := startUpstream(t, nil)
	proxy := s.proxy(api.url, "--header-timeout", "300ms")
	key := "X-API-Key: " + s.createKey("acme").Key
	for _, body := range []string{strings.Repeat("a", 50), pattern(20<<10) + strings.Repeat("b", 50), pattern(100<<10) + strings.Repeat("c", 50)} {
		for _, text := range []string{request("POST", "/", body, key), chunked("POST", "/", []string{key}, []string{body[:len(body)-10], body[len(body)-10:]}, nil)} {
			w := dial(t, proxy.addr)
			w.send(text[:len(text)-48])
			drip(w.conn, text[len(text)-48:]) // which takes a second
			if got := w.receive("POST"); got.status != http.StatusOK {
				t.Errorf("a body of %d bytes that takes its time is answered %v", len(body), got)
			}
			if got := api.one(t); got.body != body {
				t.Errorf("of %d bytes, %d arrive", len(body), len(got.body))
			}
		}
	}
}

// Answers that nobody reads fill what the kernel holds of them, and then somebody would wait for ever.
func TestAClientThatReadsNothingIsCut(t *testing.T) {
	t.Parallel()
	s := newEdge(t)
	proxy := s.proxy(named(t, pattern(60<<10)).url, "--idle-timeout", "500ms")
	w := dial(t, proxy.addr)
	one := request("GET", "/", "", "X-API-Key: "+s.createKey("acme").Key)
	var writing sync.WaitGroup
	writing.Go(func() { _, _ = io.WriteString(w.conn, strings.Repeat(one, 2000)) }) // 120 MB of answers
	eventually(t, "the connection to be cut", func() bool {
		return proxy.metric("keygate_proxy_upstream_requests_total") > 0 && proxy.metric("keygate_proxy_connections") == 0
	})
	_ = w.conn.Close()
	writing.Wait()
	if served := proxy.metric("keygate_proxy_upstream_requests_total"); served > 1900 {
		t.Errorf("%v of 2000 answers were sent to nobody", served)
	}
}
