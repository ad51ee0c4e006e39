package fastpath

import (
	"bytes"
	"time"

	"keygate/proxy/auth"
	"keygate/shared/uuid7"
)

// query is a request whose key is being looked up. All of it but decision belongs to the loop, and that one, too, once the
// query has been told of.
type query struct {
	client       *client
	request, key []byte
	started      time.Time
	decision     auth.Decision
}

// ask asks who can tell about a request's key. The client stays with the loop until then.
func (l *loop) ask(c *client, read []byte, r *request) {
	cfg := &l.listener.cfg
	cfg.Policy.Origin(&l.origin, l.lines, c.peer)
	q := &query{client: c, request: bytes.Clone(read), key: bytes.Clone(r.key), started: time.Now()}
	c.query = true
	l.asking++
	cfg.Auth.Ask(q.key, l.origin.Client(), func(d auth.Decision) {
		q.decision = d
		l.tell(q)
	})
}

// tell is called by whoever has decided.
func (l *loop) tell(q *query) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told = append(l.told, q); len(l.told) == 1 {
		l.poller.Wake()
	}
}

// proceedTold goes on with the requests whose keys have been looked up.
func (l *loop) proceedTold() {
	l.mu.Lock()
	l.told, l.heard = l.heard[:0], l.told
	l.mu.Unlock()
	for _, q := range l.heard {
		l.asking--
		q.client.query = false
		if r, ok := l.parse(q.request); ok && !l.listener.draining.Load() {
			l.proceed(q.client, q.request, &r, q.decision, q.started)
		} else {
			q.client.handOverDecided(q.request, q.decision)
		}
	}
	clear(l.heard)
}

// refuse tells a client that its key may not pass, in the words of the server.
func (l *loop) refuse(c *client, d auth.Decision, started time.Time) {
	cfg := &l.listener.cfg
	p := cfg.Refusal(d)
	if p.RequestID = string(l.lines.SaneRequestID()); p.RequestID == "" {
		p.RequestID = uuid7.Mint(started).String()
	}
	cfg.Refused(p.Code)
	cfg.Served(p.Code.Status(), time.Since(started))
	cfg.Metrics.refused.Inc()
	l.out = p.Append(l.out[:0], false)
	c.answer(l.out)
}
