// Package fastpath serves the requests that most are: complete in one piece, to an upstream that a connection is idle to,
// and answered in one piece. A few event loops carry them from socket to socket, without a goroutine, a stack and buffers
// for each connection. Only while a key is looked up that memory does not know, a goroutine waits for that. If a key may
// not pass, the loop says so.
//
// Whatever is not like that goes the way of all requests: a Listener accepts the connection, with all that has come on it,
// for a server that gives it a goroutine, and takes it back once the server has answered. The fast path refuses nothing but
// keys: what it takes is a part of what the server would take, and is forwarded as the server would, byte by byte. An
// exchange that turns out to be unlike the others while it is under way (an answer in chunks, a broken connection, a
// timeout) is handed over as it stands: see Begun.
package fastpath

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"keygate/proxy/auth"
	"keygate/proxy/identity"
	"keygate/proxy/upstream"
	"keygate/shared/problem"
)

// Authenticator decides whether a presented key may pass. Decisions alias key.
type Authenticator interface {
	// Recall decides without waiting, if it can, what is true now. False says nothing.
	Recall(key []byte, now time.Time) (auth.Decision, bool)
	// Ask tells what was decided once, within a second or so, from any goroutine; tell does not block.
	Ask(key []byte, from netip.Addr, tell func(auth.Decision))
}

// Upstreams lends idle connections, as forward.Forwarder does: never waiting, and nil if there is none.
type Upstreams interface {
	Idle(target []byte, watcher any, now time.Time) *upstream.Conn
	Answered(status int)
}

// Config is what a Listener needs; all fields must be set.
type Config struct {
	Auth      Authenticator
	Policy    *identity.Policy
	Upstreams Upstreams

	Public  func(target []byte) bool              // whether no key is needed: such requests take the other way
	Served  func(status int, took time.Duration)  // is told of each answer
	Refused func(code problem.Code)               // is told of each refusal
	Refusal func(d auth.Decision) problem.Problem // what is said of a key that may not pass
	MaxBody int64                                 // bytes; 0: no limit

	HeaderTimeout   time.Duration // how long a new connection may say nothing
	IdleTimeout     time.Duration // between two requests, and of a client that takes nothing of its answer
	ResponseTimeout time.Duration // until an exchange is taken up by a goroutine, to end there

	Metrics *Metrics
}

// Listener accepts the connections of another one whenever they need a goroutine. It is a net.Listener; Drain is to be
// called before Close if what is under way is to be finished, and Settle after it if that may not stay half written.
type Listener struct {
	net.Listener
	cfg   Config
	loops []*loop
	turn  int // of the goroutine that accepts

	began    sync.Once
	running  sync.WaitGroup  // loops, and who accepts for them
	debts    sync.WaitGroup  // who write the rest of an answer
	ctx      context.Context // ends what they do
	cancel   context.CancelFunc
	draining atomic.Bool
	closing  atomic.Bool
	queue    *queue
}

// Listen returns a Listener, or ErrUnsupported where there are no event loops. Until Accept is called nothing runs.
func Listen(inner net.Listener, cfg Config) (*Listener, error) {
	l := &Listener{Listener: inner, cfg: cfg, queue: newQueue()}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	for range runtime.GOMAXPROCS(0) {
		next, err := newLoop(l)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("starting event loops: %w", err), l.closeLoops())
		}
		l.loops = append(l.loops, next)
	}
	return l, nil
}

// Accept returns the next connection that needs a goroutine. It is to be closed, or given back by its method GiveBack.
func (l *Listener) Accept() (net.Conn, error) {
	l.began.Do(func() {
		for _, one := range l.loops {
			l.running.Go(one.run)
		}
		l.running.Go(l.accept)
	})
	return l.queue.pop()
}

// accept deals new connections out among the loops.
func (l *Listener) accept() {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			if !l.closing.Load() {
				l.queue.end(err)
			}
			return
		}
		c, err := newClient(nc, l.loops[l.turn])
		if err != nil {
			nc.Close()
			continue
		}
		l.turn = (l.turn + 1) % len(l.loops)
		c.adopt(l.cfg.HeaderTimeout)
	}
}

// Drain has everything that is under way, and all that comes from now on, served by goroutines.
func (l *Listener) Drain() {
	l.draining.Store(true)
	for _, one := range l.loops {
		one.poller.Wake()
	}
}

// Close closes the listener and the connections that wait for a request, and waits until the loops have ended. What is
// under way is accepted before Accept fails.
func (l *Listener) Close() error {
	if l.closing.Swap(true) {
		return net.ErrClosed
	}
	err := l.Listener.Close()
	l.Drain()
	l.began.Do(func() {}) // what has not begun is not to begin
	l.running.Wait()
	err = errors.Join(err, l.closeLoops())
	l.queue.end(net.ErrClosed)
	return err
}

func (l *Listener) closeLoops() error {
	var errs []error
	for _, one := range l.loops {
		errs = append(errs, one.close())
	}
	return errors.Join(errs...)
}
