package e2e

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// recheck is how often an exchange that goes on is looked at as a new request would be.
const recheck = 5 * time.Second

// lastingKinds are the exchanges that outlive a look at the key.
var lastingKinds = []string{"websocket", "events", "upload"}

// lastingAPI is an API whose exchanges go on until somebody ends them.
type lastingAPI struct {
	*backend
	open     atomic.Int64
	mu       sync.Mutex
	uploaded map[string]*atomic.Int64 // bytes, by target
}

func startLastingAPI(tb testing.TB) *lastingAPI {
	tb.Helper()
	a := &lastingAPI{uploaded: map[string]*atomic.Int64{}}
	a.backend = startBackend(tb, func(p *peer) {
		seen, ok := p.head()
		if !ok {
			return
		}
		a.open.Add(1)
		defer a.open.Add(-1)
		switch target := strings.Fields(seen.line)[1]; strings.Split(target, "/")[1] {
		case "websocket":
			p.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_, _ = io.Copy(p.Conn, p.reader)
		case "events":
			p.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
			often(func() bool { return p.send("9\r\ndata: 1\n\n\r\n") })
		case "upload":
			_, _ = io.Copy(counting{a.bytes(target)}, p.reader)
		}
	})
	return a
}

func (a *lastingAPI) bytes(target string) *atomic.Int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.uploaded[target] == nil {
		a.uploaded[target] = new(atomic.Int64)
	}
	return a.uploaded[target]
}

// often repeats until that fails.
func often(do func() bool) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for do() {
		<-tick.C
	}
}

type counting struct{ into *atomic.Int64 }

func (c counting) Write(p []byte) (int, error) {
	c.into.Add(int64(len(p)))
	return len(p), nil
}

// lasting is one exchange of a client that goes on.
type lasting struct {
	tb      testing.TB
	kind    string
	carried *atomic.Int64 // bytes that have reached the other side, or come back from it
	said    transcript    // by the other side
	ended   chan struct{}
	endedAt time.Time // once ended is closed
}

// begin opens an exchange, with a target that no other has, and returns once it carries something.
func (a *lastingAPI) begin(tb testing.TB, proxy *service, kind, name, key string) *lasting {
	tb.Helper()
	l := &lasting{tb: tb, kind: kind, carried: new(atomic.Int64), ended: make(chan struct{})}
	target := "/" + kind + "/" + name
	w := dial(tb, proxy.addr)
	_ = w.conn.SetDeadline(time.Now().Add(3 * patience))
	lines := []string{"X-API-Key: " + key}
	say := func() bool { return true }
	switch kind {
	case "websocket":
		w.send(request("GET", target, "", append(lines, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")...))
		line, err := readLine(w.reader)
		if _, failed := readLines(w.reader); err != nil || failed != nil || !strings.HasPrefix(line, "HTTP/1.1 101 ") {
			tb.Fatalf("the upgrade is answered %q, %v", line, err)
		}
		say = func() bool { _, err := io.WriteString(w.conn, "ping"); return err == nil }
	case "events":
		w.send(request("GET", target, "", lines...))
	case "upload":
		l.carried = a.bytes(target)
		w.send("POST " + target + " HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n" + lines[0] + "\r\n\r\n")
		say = func() bool { _, err := io.WriteString(w.conn, "4\r\nabcd\r\n"); return err == nil }
	}
	var talking sync.WaitGroup
	talking.Go(func() { often(func() bool { return !l.hasEnded() && say() }) })
	talking.Go(func() {
		defer close(l.ended)
		into := io.Writer(&l.said)
		if kind != "upload" {
			into = io.MultiWriter(into, counting{l.carried})
		}
		_, _ = io.Copy(into, w.reader)
		l.endedAt = time.Now()
	})
	tb.Cleanup(func() {
		_ = w.conn.Close()
		talking.Wait()
	})
	l.goesOn(tb)
	return l
}

func (l *lasting) hasEnded() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// goesOn wants the exchange to carry more than it has so far.
func (l *lasting) goesOn(tb testing.TB) {
	tb.Helper()
	before := l.carried.Load()
	eventually(tb, "the "+l.kind+" to go on", func() bool {
		if l.hasEnded() {
			tb.Fatalf("the %s has ended: %.300q", l.kind, l.said.String())
		}
		return l.carried.Load() > before+100
	})
}

// isCut waits for the exchange to break off, which has to happen within a recheck of since, and says how long it took.
func (l *lasting) isCut(tb testing.TB, since time.Time) time.Duration {
	tb.Helper()
	select {
	case <-l.ended:
	case <-time.After(time.Until(since.Add(patience))):
		tb.Fatalf("the %s goes on after its key was revoked", l.kind)
	}
	took := l.endedAt.Sub(since)
	if took > recheck+soon {
		tb.Errorf("the %s went on for %v", l.kind, took)
	}
	said := l.said.String()
	if strings.HasSuffix(said, "0\r\n\r\n") {
		tb.Errorf("the %s looks as if it was whole: …%q", l.kind, said[max(0, len(said)-60):])
	}
	if l.kind == "upload" && strings.HasPrefix(said, "HTTP/1.1 2") {
		tb.Errorf("the upload is answered %q", said)
	}
	return took
}

// checkRevocation opens n exchanges of each kind with either key, revokes the first key, and returns how long its
// exchanges went on. Those of the other key have to go on still.
func (a *lastingAPI) checkRevocation(t *testing.T, proxy *service, n int, gap time.Duration, keys [2]string, revoke func()) (took []time.Duration) {
	t.Helper()
	var revoked, kept []*lasting
	for i := range n {
		for _, kind := range lastingKinds {
			revoked = append(revoked, a.begin(t, proxy, kind, fmt.Sprint("revoked-", i), keys[0]))
			if i == 0 {
				kept = append(kept, a.begin(t, proxy, kind, "kept", keys[1]))
			}
			<-time.After(gap)
		}
	}
	revoke()
	since := time.Now()
	for _, l := range revoked {
		took = append(took, l.isCut(t, since))
	}
	for _, l := range kept {
		l.goesOn(t)
	}
	eventually(t, "the API to see that the others have ended", func() bool { return a.open.Load() == int64(len(kept)) })
	return took
}

// Exchanges begin together here, so each is looked at for the first time about five seconds later.
func TestARevokedKeyLosesWhatItHasOpen(t *testing.T) {
	t.Parallel()
	check := func(name string, revoke func(t *testing.T, api *existingAPI, proxy *service)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lasting := startLastingAPI(t)
			api := newExistingAPI(t)
			api.upstream = &upstream{url: lasting.url}
			proxy := api.proxy()
			took := lasting.checkRevocation(t, proxy, 1, 0, [2]string{api.keys[0], api.keys[1]}, func() {
				api.setActive(t, 0, false)
				revoke(t, api, proxy)
			})
			t.Logf("they went on for %v", took)
		})
	}
	check("by the endpoint", func(t *testing.T, api *existingAPI, proxy *service) {
		newClient(t).invalidate(proxy, `{"prefixes":["`+api.keys[0][:foreignPrefix]+`"]}`).report(t)
	})
	check("by an UPDATE and a DEL in Redis", func(t *testing.T, api *existingAPI, proxy *service) {
		api.redisCommand(t, "DEL", "org:prefix:"+api.keys[0][:foreignPrefix])
	})
	t.Run("by an UPDATE alone, in our tables", func(t *testing.T) {
		t.Parallel()
		lasting := startLastingAPI(t)
		s := newStack(t)
		proxy := s.proxy(lasting.url)
		first, second := s.createKey("acme"), s.createKey("other")
		took := lasting.checkRevocation(t, proxy, 1, 0, [2]string{first.Key, second.Key}, func() {
			execute(t, s.db, "update api_keys set enabled = false where prefix = $1", first.Prefix)
		})
		t.Logf("they went on for %v", took)
	})
}
