package authtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"keygate/proxy/auth"
)

// Patience is how long a suite waits for something that must happen. It is long because the machine may be busy.
const Patience = 10 * time.Second

// Listener keeps the changes that an auth.Changes delivers. Safe for concurrent use.
type Listener struct {
	mu    sync.Mutex
	heard []auth.Change
	at    []time.Time
	more  chan struct{} // closed and replaced at each change
}

// Listen runs changes until the test ends, and checks that Run returns the error of its context.
func Listen(tb testing.TB, changes auth.Changes) *Listener {
	tb.Helper()
	l, stop := ListenUntil(tb, changes)
	tb.Cleanup(stop)
	return l
}

// ListenUntil runs changes until stop is called, which waits for Run to return and may be called again.
func ListenUntil(tb testing.TB, changes auth.Changes) (l *Listener, stop func()) {
	tb.Helper()
	l = &Listener{more: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- changes.Run(ctx, l.deliver) }()
	return l, sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			tb.Errorf("Run returned %v, want the error of its context", err)
		}
	})
}

func (l *Listener) deliver(c auth.Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = append(l.heard, c)
	l.at = append(l.at, time.Now())
	close(l.more)
	l.more = make(chan struct{})
}

// Mark returns how many changes have been heard.
func (l *Listener) Mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.heard)
}

// Since returns the changes that were heard after mark.
func (l *Listener) Since(mark int) []auth.Change {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.heard[mark:])
}

// Await waits for a change after mark that is about prefix ("" for a change of all), and returns when it came.
func (l *Listener) Await(tb testing.TB, mark int, verb auth.Verb, prefix string) time.Time {
	tb.Helper()
	deadline := time.After(Patience)
	for {
		l.mu.Lock()
		for i := mark; i < len(l.heard); i++ {
			if c := l.heard[i]; c.Verb == verb && (prefix == "" && c.All || slices.Contains(c.Prefixes, prefix)) {
				at := l.at[i]
				l.mu.Unlock()
				return at
			}
		}
		more := l.more
		l.mu.Unlock()
		select {
		case <-more:
		case <-deadline:
			tb.Fatalf("no %s within %v; heard: %s", describe(verb, prefix), Patience, l)
		}
	}
}

// String lists what was heard.
func (l *Listener) String() string {
	text := "nothing"
	for i, c := range l.Since(0) {
		if i == 0 {
			text = ""
		}
		text += fmt.Sprintf("[%s %v all=%v]", describe(c.Verb, ""), c.Prefixes, c.All)
	}
	return text
}

func describe(verb auth.Verb, prefix string) string {
	name := map[auth.Verb]string{auth.Look: "look", auth.Remove: "remove", auth.Demote: "demote"}[verb]
	if prefix != "" {
		name += " of " + prefix
	}
	return name
}
