package fastpath

import (
	"runtime"
	"sync"
	"time"

	"keygate/proxy/header"
	"keygate/proxy/identity"
	"keygate/proxy/upstream"
	"keygate/shared/poll"
)

// One piece of a request or answer may be as long as the buffer; longer ones are streamed, the other way.
const bufferSize = 64 << 10

// What is late is looked for eight times while the shortest patience lasts: nobody waits longer than an eighth too long.
const looksPerPatience = 8

// loop carries the exchanges of the connections that were dealt out to it. All of it but poller and told belongs to the
// goroutine of run, and so do the connections while they are with it.
type loop struct {
	listener *Listener
	poller   *poll.Poller

	interval time.Duration // between two looks for what is late
	now      time.Time     // when the loop last woke up: what is late may be so by a turn, which is about a millisecond
	drained  bool
	links    []*link // by descriptor; what is no longer open stays until the descriptor is used again
	spare    []*flight
	asking   int // queries whose end is not known to the loop

	mu   sync.Mutex // held for moments
	told []*query   // that have ended since

	again   []*client // of which more may have come than was read, if they still say so
	reading []*client // scratch, like all below
	heard   []*query
	watched []poll.Handler
	in, out []byte
	lines   header.Lines
	header  []byte
	org     []byte
	origin  identity.Origin
}

func newLoop(listener *Listener) (*loop, error) {
	poller, err := poll.New()
	if err != nil {
		return nil, err
	}
	cfg := &listener.cfg
	return &loop{
		listener: listener, poller: poller,
		interval: min(cfg.HeaderTimeout, cfg.IdleTimeout, cfg.ResponseTimeout) / looksPerPatience,
		in:       make([]byte, bufferSize),
	}, nil
}

// run serves until the listener is closed.
func (l *loop) run() {
	l.now = time.Now()
	next := l.now.Add(l.interval)
	for {
		until := next
		if len(l.again) > 0 {
			until = time.Time{}
		}
		if err := l.poller.Wait(until); err != nil {
			l.listener.queue.end(err)
			return
		}
		l.now = time.Now()
		l.poller.Dispatch()
		l.readAgain()
		l.proceedTold()
		if l.listener.draining.Load() && !l.drained {
			l.drained = true // nothing departs any more
			l.takeUpAll()
		}
		if l.listener.closing.Load() && l.drained && l.asking == 0 {
			l.leave()
			return
		}
		if l.now.After(next) {
			l.lookForLate()
			next = l.now.Add(l.interval)
		}
		runtime.Gosched() // a loop that always finds something would keep flights and the news of changes from running
	}
}

// leave has goroutines serve the requests that have come.
func (l *loop) leave() {
	for l.readAgain(); l.poller.Wait(time.Time{}) == nil && l.poller.Dispatch() > 0; {
	}
}

// readAgain reads what has come behind requests that have been answered, once for each client: one that sends without a
// pause has its turn like all others.
func (l *loop) readAgain() {
	l.again, l.reading = l.reading[:0], l.again
	for _, c := range l.reading {
		if c.more && c.flight == nil && !c.query {
			c.Readable(false)
		}
	}
	clear(l.reading)
}

// close closes what waits for a request, once run has ended. New connections are left to the server: their first one may be
// on its way.
func (l *loop) close() error {
	err := l.poller.Close()
	l.each(func(c *client) {
		if c.asked {
			c.Conn.Close()
		} else {
			c.lend(nil, nil)
		}
	})
	return err
}

// each calls f with every client that is with the loop.
func (l *loop) each(f func(c *client)) {
	l.watched = l.poller.Watched(l.watched[:0])
	for _, h := range l.watched {
		if c, ok := h.(*client); ok {
			f(c)
		}
	}
	clear(l.watched)
}

func (l *loop) lookForLate() {
	l.each(func(c *client) {
		switch {
		case l.now.Before(c.until), c.query:
		case c.flight != nil:
			l.takeUp(c.flight, c.flight.got, nil)
		case !c.asked: // and is owed an answer that says so
			c.late = true
			c.lend(nil, nil)
		default:
			c.shut()
		}
	})
}

// takeUpAll has goroutines finish what is under way.
func (l *loop) takeUpAll() {
	l.each(func(c *client) {
		if c.flight != nil {
			l.takeUp(c.flight, c.flight.got, nil)
		}
	})
}

// link is an upstream's connection, as the loop that has used it last watches it.
type link struct {
	loop   *loop
	flight *flight // nil: the connection is idle, or somebody else's
}

// Readable implements poll.Handler. What comes unasked is found by who uses the connection next.
func (k *link) Readable(ended bool) {
	if k.flight != nil {
		k.loop.answered(k.flight, ended)
	}
}

// link returns the link of a connection, which is watched from now on.
func (l *loop) link(up *upstream.Conn) (*link, error) {
	fd := up.FD()
	if up.Watcher == l {
		return l.links[fd], nil
	}
	if other, ok := up.Watcher.(*loop); ok {
		other.poller.Remove(fd)
	}
	for len(l.links) <= fd {
		l.links = append(l.links, nil)
	}
	k := &link{loop: l}
	if err := l.poller.Add(fd, k); err != nil {
		return nil, err
	}
	l.links[fd], up.Watcher = k, l
	return k, nil
}
