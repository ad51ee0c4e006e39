package server

import (
	"bytes"
	"context"
	"net/netip"
	"sync"
	"time"

	"keygate/proxy/auth"
)

// recheckEvery is how often an exchange that goes on is looked at as a new request would be. A key that is revoked
// closes its streams and tunnels this much later, at the latest.
const recheckEvery = 5 * time.Second

// watch begins to watch an exchange that turned out to be long. The key is copied.
func (s *Server) watch(key []byte, cut func()) (stop func()) {
	w := &watcher{auth: s.Auth, key: bytes.Clone(key), cut: cut}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(recheckEvery, w.check)
	return w.stop
}

// watcher asks again and again whether the key of one exchange may still pass.
type watcher struct {
	auth Authenticator
	key  []byte
	cut  func()

	mu      sync.Mutex // held for moments, never while the key is looked up
	timer   *time.Timer
	stopped bool
}

// check cuts the exchange off if its key is denied. Where nobody can be asked, it goes on: it was allowed once.
func (w *watcher) check() {
	denied := w.auth.Resolve(context.Background(), w.key, netip.Addr{}).Outcome() == auth.Deny
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.stopped:
	case denied:
		w.cut()
	default:
		w.timer.Reset(recheckEvery)
	}
}

func (w *watcher) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.timer.Stop()
}
