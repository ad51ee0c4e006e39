package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A nonce is in the target of one request, /NONCE/KEY/SIZE, KEY being the number of the key that it is sent with and SIZE
// the length of its body, and in whatever answers that request.

// bodyFor is a body that no other nonce has.
func bodyFor(nonce string, size int) string {
	return strings.Repeat(nonce+";", size/(len(nonce)+1)+1)[:size]
}

// answerFor is as long as the last digit of the nonce wants it.
func answerFor(nonce, org string) string {
	text := "to " + nonce + " of " + org + "\n"
	switch nonce[len(nonce)-1] {
	case '7':
		return strings.Repeat(text, 4000) // more than a proxy holds
	case '8':
		return strings.Repeat(text, 400)
	}
	return text
}

// oracle is an API that cannot be relied on, except for this: it notes all that reaches it, and what it answers to a
// request can be told from every other answer.
type oracle struct {
	tb   testing.TB
	orgs []string

	mu    sync.Mutex
	began map[string]int    // heads that arrived, by nonce
	whole map[string]int    // requests that arrived whole
	ids   map[string]string // nonces by X-Keygate-Id
}

func newOracle(tb testing.TB, orgs []string) *oracle {
	return &oracle{tb: tb, orgs: orgs, began: map[string]int{}, whole: map[string]int{}, ids: map[string]string{}}
}

// asked is a request as the oracle reads it.
type asked struct {
	seen
	method, nonce, org string
	size               int
}

// read reads a head and says whether it is what some client may have sent.
func (o *oracle) read(p *peer) (a asked, ok bool) {
	a.seen, ok = p.head()
	if !ok {
		return a, false
	}
	target := ""
	a.method, target, _ = strings.Cut(a.line, " ")
	parts := strings.Split(strings.TrimSuffix(target, " HTTP/1.1"), "/")
	ids, orgs := a.values("x-keygate-id"), a.values("x-org-id")
	if len(parts) != 4 || len(ids) != 1 || len(orgs) != 1 {
		o.tb.Errorf("the API is sent %q", a.seen)
		return a, false
	}
	key, _ := strconv.Atoi(parts[2])
	a.nonce, a.org = parts[1], orgs[0]
	a.size, _ = strconv.Atoi(parts[3])
	o.mu.Lock()
	defer o.mu.Unlock()
	o.began[a.nonce]++
	if other, used := o.ids[ids[0]]; used && other != a.nonce {
		o.tb.Errorf("%s and %s have the same id", other, a.nonce)
	}
	if o.ids[ids[0]] = a.nonce; a.org != o.orgs[key] {
		o.tb.Errorf("%s is said to be of %s, not of %s", a.nonce, a.org, o.orgs[key])
	}
	return a, true
}

// finish reads the body.
func (o *oracle) finish(p *peer, a *asked) bool {
	if err := a.readBody(p.reader); err != nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.whole[a.nonce]++; a.body != bodyFor(a.nonce, a.size) {
		o.tb.Errorf("the body of %s has been changed: %d bytes, %.100q…", a.nonce, len(a.body), a.body)
	}
	return true
}

// serve answers well, or does what upstreams do when they break.
func (o *oracle) serve(p *peer) {
	for {
		a, ok := o.read(p)
		if !ok {
			return
		}
		if len(a.values("upgrade")) == 1 {
			p.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: oracle\r\nX-Nonce: " + a.nonce + "\r\n\r\n" + a.nonce)
			_, _ = io.Copy(p.Conn, p.reader)
			return
		}
		if rand.IntN(12) == 0 { // it answers early
			if !p.send(a.plain()) || rand.IntN(2) == 0 {
				return
			}
			if !o.finish(p, &a) {
				return
			}
			continue
		}
		if !o.finish(p, &a) || !a.answer(p) {
			return
		}
	}
}

func (a *asked) head(lines string) string {
	return "HTTP/1.1 200 OK\r\nX-Nonce: " + a.nonce + "\r\n" + lines + "\r\n"
}

func (a *asked) plain() string {
	body := answerFor(a.nonce, a.org)
	head := a.head(fmt.Sprintf("Content-Length: %d\r\n", len(body)))
	if a.method == http.MethodHead {
		return head
	}
	return head + body
}

func (a *asked) chunked() string {
	if a.method == http.MethodHead {
		return a.head("Transfer-Encoding: chunked\r\n")
	}
	body := answerFor(a.nonce, a.org)
	at := rand.IntN(len(body)-1) + 1
	return a.head("Transfer-Encoding: chunked\r\n") + fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", at, body[:at], len(body)-at, body[at:])
}

// poison is an answer that nobody has asked for. It goes with another in one segment: if it came by itself, after the next
// request had been sent, nobody could tell that it does not answer that.
const poison = "HTTP/1.1 200 OK\r\nX-Nonce: poison\r\nContent-Length: 6\r\n\r\npoison"

func (a *asked) poisoned(text string) string {
	if len(text) > 32<<10 {
		return text
	}
	return text + poison
}

// answer says whether the connection may go on.
func (a *asked) answer(p *peer) bool {
	soonest := time.Duration(rand.IntN(20)) * time.Millisecond
	text := a.plain()
	switch rand.IntN(24) {
	case 0:
		p.reset()
	case 1: // closes without an answer
	case 2:
		p.send(text[:rand.IntN(len(text))])
		p.reset()
	case 3:
		p.send(text[:rand.IntN(len(text))])
	case 4:
		text = a.chunked()
		p.send(text[:rand.IntN(len(text))])
	case 5, 6:
		return p.send(a.poisoned(text))
	case 7:
		p.send("garbage\r\n\r\n")
		return true
	case 8: // too late
		<-time.After(oracleTimeout + soonest)
		return p.send(a.poisoned(text))
	case 9:
		_, body, _ := strings.Cut(text, "\r\n\r\n")
		p.send(a.head("") + body) // which ends with the connection
	case 10:
		return p.send("HTTP/1.1 103 Early Hints\r\nX-Nonce: hint\r\n\r\n" + text)
	case 11, 12:
		<-time.After(soonest)
		return p.send(text)
	case 13, 14, 15, 16:
		return p.send(a.chunked())
	default:
		return p.send(text)
	}
	return false
}

// oracleTimeout is how long a proxy before an oracle waits.
const oracleTimeout = 150 * time.Millisecond

// check weighs all that has arrived against what clients may send once, or twice.
func (o *oracle) check(answered map[string]bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for nonce, times := range o.began {
		most := 1
		if nonce[0] == 'r' { // of a request that may be repeated
			most = 2
		}
		if times > most || o.whole[nonce] > most {
			o.tb.Errorf("%s was sent to the API %d times", nonce, times)
		}
	}
	for nonce := range answered {
		if o.began[nonce] == 0 {
			o.tb.Errorf("%s was answered, and never asked", nonce)
		}
	}
}
