package redisstore

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// ErrNoWrites reports that Redis was not asked to write, because it refuses to.
var ErrNoWrites = errors.New("no writes are taken by Redis")

// writes knows whether Redis takes any. A replica, a full server and one that cannot save answer each with an error, and
// the library gives the connection up that a replica answers on. While that lasts, only heartbeats try, once a second.
// Safe for concurrent use.
type writes struct {
	changed func(why error) // called for each change, in order, and so under the lock: it must be quick; nil: taken again

	mu      sync.Mutex
	refused bool
}

func (w *writes) taken() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.refused
}

// report tells how a write ended. What is not about writing says nothing.
func (w *writes) report(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	refused := refusesWrites(err)
	if err != nil && !refused || refused == w.refused {
		return
	}
	w.refused = refused
	w.changed(err)
}

// refusesWrites recognises what Redis says, also out of a script: a replica, no memory left, a disk that cannot be
// written, too few replicas, no permission.
func refusesWrites(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer) && slices.ContainsFunc(
		[]string{"READONLY ", "OOM ", "MISCONF ", "NOREPLICAS ", "NOPERM "},
		func(code string) bool { return strings.Contains(answer.Error(), code) })
}
