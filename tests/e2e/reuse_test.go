package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// oracleKey is a key that is now revoked and now enabled again.
type oracleKey struct {
	apiKey
	state atomic.Int64 // counts: enabled, about to be revoked, revoked, about to be enabled, and so on
}

const (
	enabled = 0
	revoked = 2
)

// crowd is many clients of one proxy, and what became of their requests.
type crowd struct {
	tb    testing.TB
	proxy *service
	keys  []*oracleKey
	until time.Time
	count atomic.Int64 // nonces so far

	whole, failed, refused, cut, switched atomic.Int64

	mu       sync.Mutex
	answered map[string]bool // nonces
}

// runCrowd has clients behave in every way for so long, and the API too, while keys are revoked and enabled again.
func runCrowd(t *testing.T, duration time.Duration) {
	s := newStack(t)
	c := &crowd{tb: t, answered: map[string]bool{}}
	var orgs []string
	for i := range 6 {
		key := s.createKey(fmt.Sprint("organisation ", i))
		c.keys, orgs = append(c.keys, &oracleKey{apiKey: key}), append(orgs, key.OrgID)
	}
	api := newOracle(t, orgs)
	s.env = append(s.env, "LOG_LEVEL=warn") // invalidations are logged, and there are many
	one, two := startBackend(t, api.serve), startBackend(t, api.serve)
	c.proxy = s.proxy(one.url, "--upstream", two.url, "--response-timeout", oracleTimeout.String(), "--idle-timeout", "300ms")
	before := c.proxy.metric("go_goroutines")
	c.until = time.Now().Add(duration)
	var all sync.WaitGroup
	for range 24 {
		all.Go(func() {
			for time.Now().Before(c.until) && !t.Failed() {
				if err := c.visit(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() { c.revokeAndEnable(s) })
	all.Wait()
	t.Logf("%d requests: %d answered whole, %d failed upstream, %d refused, %d cut off; %d upgrades", c.count.Load(),
		c.whole.Load(), c.failed.Load(), c.refused.Load(), c.cut.Load(), c.switched.Load())
	for _, n := range []*atomic.Int64{&c.whole, &c.failed, &c.refused, &c.cut, &c.switched} {
		if n.Load() == 0 {
			t.Error("not everything was tried")
		}
	}
	c.proxy.checkAtRest(t, before)
	c.proxy.stop(syscall.SIGTERM)
	api.check(c.answered)
	if printed := c.proxy.output(); strings.Contains(printed, "panic") || strings.Contains(printed, "ERROR") {
		t.Error("the proxy panicked, or logged an error")
	}
}

// checkAtRest wants nothing to be left of what clients have done.
func (s *service) checkAtRest(t *testing.T, goroutines float64) {
	t.Helper()
	eventually(t, "the proxy to be at rest", func() bool {
		return s.metric("keygate_proxy_upstream_connections", `state="active"`) == 0 && s.metric("go_goroutines") < goroutines+30
	})
}

func TestNoAnswerReachesAnotherClientWhateverAnybodyDoes(t *testing.T) {
	t.Parallel()
	runCrowd(t, 3*time.Second)
}

// revokeAndEnable changes one key at a time. What was allowed before is not allowed once the endpoint has answered.
func (c *crowd) revokeAndEnable(s *stack) {
	for time.Now().Before(c.until) {
		k := c.keys[rand.IntN(len(c.keys)-1)] // the last one stays
		k.state.Add(1)
		if _, err := s.db.Exec("update api_keys set enabled = $1 where prefix = $2", k.state.Load()%4 == 3, k.Prefix); err != nil {
			c.tb.Errorf("changing a key: %v", err)
			return
		}
		for complete := false; !complete; { // on a machine as busy as this, Redis may be late
			got, err := c.proxy.web.try(http.MethodDelete, c.proxy.admin+"/v1/cache/keys/"+k.Prefix, "")
			complete = strings.Contains(string(got.body), `"complete":true`)
			if err != nil || time.Now().After(c.until.Add(patience)) {
				c.tb.Errorf("an invalidation: %v, %v", got, err)
				return
			}
		}
		k.state.Add(1)
		<-time.After(20 * time.Millisecond)
	}
}

// sentRequest is what a client remembers of a request.
type sentRequest struct {
	method, nonce string
	key           *oracleKey
	state         int64 // the key's, before it was sent
}

// visit is one connection: some requests, each after the answer to the one before or all at once, and an end at any time.
func (c *crowd) visit() error {
	conn, err := net.Dial("tcp", c.proxy.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	reader := bufio.NewReader(conn)
	pipelined, leaves := rand.IntN(2) == 0, rand.IntN(4) == 0
	var sent []sentRequest
	var text strings.Builder
	for range 1 + rand.IntN(6) {
		r, written := c.request()
		if sent = append(sent, r); !pipelined {
			if goesOn, err := c.exchange(conn, reader, written, sent[len(sent)-1:], leaves && rand.IntN(3) == 0); err != nil || !goesOn {
				return err
			}
			continue
		}
		text.WriteString(written)
	}
	if pipelined {
		_, err = c.exchange(conn, reader, text.String(), sent, leaves)
	}
	if err == nil && !leaves && rand.IntN(8) == 0 {
		return c.upgrade(conn, reader)
	}
	return err
}

// request makes one, and writes it out.
func (c *crowd) request() (sentRequest, string) {
	k := rand.IntN(len(c.keys))
	methods := []string{"GET", "HEAD", "POST", "POST", "PUT", "DELETE", "PATCH"}
	r := sentRequest{method: methods[rand.IntN(len(methods))], key: c.keys[k], state: c.keys[k].state.Load()}
	kind, size := "once", 0
	if r.method == "GET" || r.method == "HEAD" {
		kind = "repeatable"
	} else if r.method != "DELETE" {
		size = []int{0, 1, 100, 9_000, 80_000}[rand.IntN(5)]
	}
	r.nonce = fmt.Sprintf("%s-%d", kind, c.count.Add(1))
	target := fmt.Sprintf("/%s/%d/%d", r.nonce, k, size)
	lines, body := []string{"X-API-Key: " + r.key.Key, "X-Request-Id: " + r.nonce}, bodyFor(r.nonce, size)
	if size > 0 && rand.IntN(4) == 0 { // and sends its body without waiting for the answer
		lines = append(lines, "Expect: 100-continue")
	}
	if size > 0 && rand.IntN(2) == 0 {
		at := rand.IntN(size)
		return r, chunked(r.method, target, lines, strings.Fields(body[:at]+" "+body[at:]), nil)
	}
	return r, request(r.method, target, body, lines...)
}

// exchange sends text in pieces, perhaps not to its end, reads what answers the requests in it, and says whether the
// connection goes on.
func (c *crowd) exchange(conn net.Conn, reader *bufio.Reader, text string, requests []sentRequest, leaves bool) (bool, error) {
	if leaves {
		text = text[:rand.IntN(len(text))]
	}
	var writing sync.WaitGroup
	writing.Go(func() {
		for text != "" {
			n := min(len(text), 1+rand.IntN(20_000))
			if _, err := io.WriteString(conn, text[:n]); err != nil {
				return
			}
			text = text[n:]
		}
		if leaves {
			_ = conn.Close()
		}
	})
	defer writing.Wait()
	for _, r := range requests {
		switch closes, err := c.receive(reader, r); {
		case errors.Is(err, errCut):
			c.cut.Add(1)
			_ = conn.Close()
			return false, nil
		case err != nil || closes:
			_ = conn.Close()
			return false, err
		}
	}
	return true, nil
}

// errCut says that a connection ended before an answer did.
var errCut = errors.New("cut off")

// receive wants an answer to be that to r.
func (c *crowd) receive(reader *bufio.Reader, r sentRequest) (closes bool, err error) {
	response, err := http.ReadResponse(reader, &http.Request{Method: r.method})
	for err == nil && response.StatusCode == http.StatusContinue {
		response, err = http.ReadResponse(reader, &http.Request{Method: r.method})
	}
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return true, errCut
	}
	if err != nil {
		return true, fmt.Errorf("%s is answered by no HTTP: %w", r.nonce, err)
	}
	body, cut := io.ReadAll(response.Body)
	state := r.key.state.Load()
	steady := state == r.state
	switch nonce := response.Header.Get("X-Nonce"); response.StatusCode {
	case http.StatusOK:
		want := answerFor(r.nonce, r.key.OrgID)
		if r.method == http.MethodHead {
			want = ""
		}
		if nonce != r.nonce || cut == nil && string(body) != want || !strings.HasPrefix(want, string(body)) {
			return true, fmt.Errorf("%s %s is answered by %s, %.200q", r.method, r.nonce, nonce, body)
		}
		if steady && state%4 == revoked {
			return true, fmt.Errorf("%s of a revoked key is answered", r.nonce)
		}
		c.note(r.nonce)
		c.whole.Add(1)
	case http.StatusBadGateway, http.StatusGatewayTimeout, http.StatusUnauthorized, http.StatusServiceUnavailable:
		if err := isAbout(r, nonce, body); err != nil {
			return true, err
		}
		denied, unknown := response.StatusCode == http.StatusUnauthorized, response.StatusCode == http.StatusServiceUnavailable
		if denied && steady && state%4 == enabled || !denied && !unknown && steady && state%4 == revoked {
			return true, fmt.Errorf("%s, with its key in state %d, is answered %d %s", r.nonce, state%4, response.StatusCode, body)
		} else if denied {
			c.refused.Add(1)
		} else {
			c.failed.Add(1)
		}
	default:
		return true, fmt.Errorf("%s is answered %d %.200s", r.nonce, response.StatusCode, body)
	}
	if cut != nil {
		return true, errCut
	}
	return response.Close, nil
}

// isAbout wants a refusal to name the request that it answers.
func isAbout(r sentRequest, nonce string, body []byte) error {
	var p problem
	if r.method == http.MethodHead && nonce == "" && len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, &p); err != nil || p.RequestID != r.nonce || nonce != "" {
		return fmt.Errorf("%s %s is refused by %.300q", r.method, r.nonce, body)
	}
	return nil
}

func (c *crowd) note(nonce string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answered[nonce] = true
}

// upgrade ends a connection as a tunnel, whose end hears itself and nobody else.
func (c *crowd) upgrade(conn net.Conn, reader *bufio.Reader) error {
	defer conn.Close()
	k := len(c.keys) - 1 // which is never revoked
	nonce := fmt.Sprintf("once-upgrade-%d", c.count.Add(1))
	_, err := io.WriteString(conn, request("GET", fmt.Sprintf("/%s/%d/0", nonce, k), "", "X-API-Key: "+c.keys[k].Key,
		"Connection: Upgrade", "Upgrade: oracle", "X-Request-Id: "+nonce)+nonce)
	if err != nil {
		return nil // it may have been idle for too long
	}
	line, err := readLine(reader)
	lines, failed := readLines(reader)
	if err != nil || failed != nil {
		c.cut.Add(1)
		return nil
	}
	echo := make([]byte, 2*len(nonce))
	_, err = io.ReadFull(reader, echo)
	if !strings.HasPrefix(line, "HTTP/1.1 101 ") || !strings.Contains(strings.Join(lines, "\n"), "X-Nonce: "+nonce) || err == nil && string(echo) != nonce+nonce {
		return fmt.Errorf("%s is answered %q, %q, and then %q", nonce, line, lines, echo)
	}
	c.switched.Add(1)
	return nil
}
