package fastpath

import (
	"bytes"
	"errors"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"keygate/proxy/auth"
	"keygate/proxy/forward"
	"keygate/proxy/identity"
	"keygate/proxy/upstream"
	"keygate/shared/uuid7"
)

// flight is one exchange under way.
type flight struct {
	client  *client
	link    *link
	up      *upstream.Conn
	request []byte // as the client sent it
	sent    []byte // as the upstream got it
	got     []byte // of an answer that comes in several pieces
	started time.Time
	id      [36]byte // of the request, for people and logs
	minted  bool     // id is ours, since the client sent none worth keeping
}

// Flights are used again, but not so many or so large that what a rush took is kept for ever: 4 MiB a loop.
const (
	mostSpare = 256
	spareSize = 16 << 10
)

// depart serves a request, unless that needs the server: then nothing has happened.
func (l *loop) depart(c *client, read []byte) bool {
	r, ok := l.parse(read)
	if !ok || l.listener.draining.Load() {
		return false
	}
	now := time.Now()
	if d, known := l.listener.cfg.Auth.Recall(r.key, now); known {
		l.proceed(c, read, &r, d, now)
	} else {
		l.ask(c, read, &r)
	}
	return true
}

// proceed does what follows from a decision about a request's key.
func (l *loop) proceed(c *client, read []byte, r *request, d auth.Decision, started time.Time) {
	if d.Outcome() != auth.Allow {
		l.refuse(c, d, started)
		return
	}
	up, k := l.idle(r.target)
	if up == nil {
		c.handOverDecided(read, d)
		return
	}
	f := l.newFlight()
	f.client, f.link, f.up, f.started = c, k, up, started
	f.request = append(f.request[:0], read...)
	l.appendRequest(f, r, d.Principal)
	c.flight, k.flight = f, f
	c.until = l.now.Add(l.listener.cfg.ResponseTimeout) // a look-up takes nothing of it
	if !l.send(f, r.target) {
		c.handOverDecided(f.request, d)
		l.recycle(f)
	}
}

// idle returns a connection that is watched by this loop.
func (l *loop) idle(target []byte) (*upstream.Conn, *link) {
	up := l.listener.cfg.Upstreams.Idle(target, l, l.now)
	if up == nil {
		return nil, nil
	}
	k, err := l.link(up)
	if err != nil {
		up.Release(false)
		return nil, nil
	}
	return up, k
}

// send tries idle connections until one is good, and says whether one was.
func (l *loop) send(f *flight, target []byte) (sent bool) {
	for {
		n, err := f.up.Start(f.sent)
		switch {
		case errors.Is(err, upstream.ErrStale):
			f.link.flight = nil
			f.up.Release(false)
			if f.up, f.link = l.idle(target); f.up == nil {
				return false
			}
			f.link.flight = f
		case n < len(f.sent):
			l.takeUp(f, nil, f.sent[n:])
			return true
		default:
			return true
		}
	}
}

// answered passes an answer on, once it is whole.
func (l *loop) answered(f *flight, ended bool) {
	n, err := f.up.Receive(l.in)
	if err == syscall.EAGAIN {
		return
	}
	got := l.in[:max(n, 0)]
	if len(f.got) > 0 {
		f.got = append(f.got, got...)
		got = f.got
	}
	text, status, whole := l.parseAnswer(got)
	switch {
	case err != nil || status == 0 || status == fasthttp.StatusServiceUnavailable || !whole && ended:
		l.takeUp(f, got, nil)
		return
	case !whole:
		if len(f.got) == 0 {
			f.got = append(f.got, got...)
		}
		return
	}
	f.up.Succeeded()
	cfg := &l.listener.cfg
	cfg.Upstreams.Answered(status)
	cfg.Served(status, time.Since(f.started))
	cfg.Metrics.answered.Inc()
	f.link.flight = nil
	f.up.Release(!ended)
	c := f.client
	c.flight = nil
	l.recycle(f)
	c.answer(text)
}

// takeUp has a goroutine go on with an exchange, of which that much of the answer has come, and that much of the request
// has not been sent.
func (l *loop) takeUp(f *flight, got, unsent []byte) {
	cfg := &l.listener.cfg
	cfg.Metrics.takenUp.Inc()
	f.up.Resume(got, f.client.until)
	f.link.flight = nil
	begun := &forward.Begun{Request: bytes.Clone(f.sent), Unsent: bytes.Clone(unsent), Up: f.up, At: f.started}
	if f.minted {
		begun.RequestID = bytes.Clone(f.id[:])
	}
	f.client.lend(f.request, begun)
	l.recycle(f)
}

func (l *loop) newFlight() *flight {
	if last := len(l.spare) - 1; last >= 0 {
		f := l.spare[last]
		l.spare = l.spare[:last]
		return f
	}
	return new(flight)
}

func (l *loop) recycle(f *flight) {
	*f = flight{request: f.request[:0], sent: f.sent[:0], got: f.got[:0]}
	if len(l.spare) < mostSpare && cap(f.request)+cap(f.sent)+cap(f.got) <= spareSize {
		l.spare = append(l.spare, f)
	}
}

// appendRequest writes the request as the upstream is to get it.
func (l *loop) appendRequest(f *flight, r *request, who auth.Principal) {
	policy := l.listener.cfg.Policy
	policy.Origin(&l.origin, l.lines, f.client.peer)
	l.org = append(l.org[:0], who.OrgID...)
	v := identity.Vouch{
		Org: l.org, KeyPrefix: who.Prefix, ID: uuid7.Mint(f.started),
		Method: r.method, Target: r.target, Now: f.started, Origin: &l.origin,
	}
	if f.minted = l.lines.SaneRequestID() == nil; f.minted {
		_, _ = uuid7.Mint(f.started).AppendText(f.id[:0])
		v.RequestID = f.id[:]
	}
	l.header = policy.AppendHeader(l.header[:0], l.lines, &v)
	f.sent = forward.AppendHead(f.sent[:0], r.method, r.target, l.header)
	if r.framed {
		f.sent = forward.AppendLength(f.sent, int64(len(r.body)))
	}
	f.sent = append(append(f.sent, "\r\n"...), r.body...)
}
