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
