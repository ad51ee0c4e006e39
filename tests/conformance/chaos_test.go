package conformance

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// unreliable answers with the request's target and body, in one of the framings, and now and then breaks off, says more
// than it should, or goes away.
func unreliable(m *message) reply {
	body := m.target + "|" + m.body
	length := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	chunked := fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", body[:1], len(body)-1, body[1:])
	switch rand.IntN(16) {
	case 0:
		return reply{closes: true}
	case 1:
		return reply{[]byte(length[:len(length)/2]), true}
	case 2:
		return reply{[]byte(chunked[:len(chunked)*3/4]), true}
	case 3:
		return reply{[]byte(length), true}
	case 4:
		return reply{[]byte(length + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"), rand.IntN(2) == 0}
	case 5:
		return reply{[]byte("HTTP/1.1 200 OK\r\n\r\n" + body), true}
	case 6:
		return reply{[]byte("garbage\r\n\r\n"), false}
	case 7, 8, 9, 10:
		return reply{[]byte(chunked), false}
	}
	return reply{[]byte(length), false}
}

// However clients and upstream behave, no answer reaches another's request.
func TestNoAnswerReachesAnothersRequest(t *testing.T) {
	up := newUpstream(t, unreliable)
	up.forgets = true
	e := newEdge(t, up.addr())
	deadline := time.Now().Add(chaosFor)
	var served sync.WaitGroup
	var whole, failed, cut atomic.Int64
	for worker := range 24 {
		served.Go(func() {
			for round := 0; time.Now().Before(deadline); round++ {
				c := chaotic{tb: t, key: e.key, name: fmt.Sprintf("/w%d/%d", worker, round)}
				if err := c.run(e.addr); err != nil {
					t.Error(err)
					return
				}
				whole.Add(c.whole)
				failed.Add(c.failed)
				cut.Add(c.cut)
			}
		})
	}
	served.Wait()
	e.stop()
	up.close()
	t.Logf("%d answers were whole, %d said that the upstream failed, %d connections were cut", whole.Load(), failed.Load(), cut.Load())
	if whole.Load() == 0 || failed.Load() == 0 || cut.Load() == 0 {
		t.Error("nothing was tried")
	}
}

// chaotic is a client that sends some requests on one connection, in pieces or at once, and may leave before the end.
type chaotic struct {
	tb                 testing.TB
	key, name          string
	whole, failed, cut int64
}

func (c *chaotic) run(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	var sent []byte
	var wants []string
	for n := range 1 + rand.IntN(5) {
		target := fmt.Sprintf("%s/%d", c.name, n)
		body := strings.Repeat(target, rand.IntN(40)*rand.IntN(40))
		text := target + " HTTP/1.1|H|K|"
		switch rand.IntN(3) {
		case 0:
			text, body = "GET "+text+"|", ""
		case 1:
			text = fmt.Sprintf("POST %sContent-Length: %d||%s", text, len(body), body)
		default:
			text = fmt.Sprintf("POST %sTransfer-Encoding: chunked||%x|%s|0||", text, len(body)+1, body+".")
			body += "."
		}
		sent = append(sent, expand(c.tb, text, c.key, "")...)
		wants = append(wants, target+"|"+body)
	}
	leaves := rand.IntN(4) == 0
	if leaves {
		sent = sent[:rand.IntN(len(sent))]
	}
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		for len(sent) > 0 {
			n := min(len(sent), 1+rand.IntN(4000))
			if _, err := conn.Write(sent[:n]); err != nil {
				return
			}
			sent = sent[n:]
		}
		if leaves {
			_ = conn.Close()
		}
	}()
	err = c.read(conn, wants)
	_ = conn.Close()
	<-writing
	return err
}

// read compares the answers, as far as they come, with what was wanted.
func (c *chaotic) read(conn net.Conn, wants []string) error {
	var buffer []byte
	piece := make([]byte, 16<<10)
	for n := 0; n < len(wants); {
		a, err := readResponse(buffer, "POST", false)
		if err != nil && !errors.Is(err, errIncomplete) {
			return fmt.Errorf("%s: answer %d, %.100q: %w", c.name, n, buffer, err)
		}
		if err != nil {
			got, err := conn.Read(piece)
			if buffer = append(buffer, piece[:got]...); err != nil {
				c.cut++
				return nil
			}
			continue
		}
		switch {
		case a.status == 200 && a.body != wants[n]:
			return fmt.Errorf("%s: request %d is answered by %.100q, not %.100q", c.name, n, a.body, wants[n])
		case a.status == 200:
			c.whole++
		case a.status == 502:
			c.failed++
		default:
			return fmt.Errorf("%s: request %d is answered by %d %s", c.name, n, a.status, a.body)
		}
		buffer = buffer[a.size:]
		if n++; a.closes() {
			if len(buffer) > 0 {
				return fmt.Errorf("%s: %.100q follows the last answer", c.name, buffer)
			}
			return nil
		}
	}
	return nil
}
