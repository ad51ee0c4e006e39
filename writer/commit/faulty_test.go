package commit_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"keygate/shared/uuid7"
	"keygate/writer/commit"
	"keygate/writer/event"
	"keygate/writer/sinktest"
)

var errInjected = errors.New("a fault that a test injected")

// A faultySink is a real sink with a place before it where its calls can be made to fail. It holds the committer to its
// side of the contract.
type faultySink struct {
	testing.TB
	real commit.Sink

	mu       sync.Mutex
	onInsert insertFault
	onFind   func() error
	sizes    []int       // of the batches inserted, probes left out
	times    []time.Time // of the same
	finds    int
}

// An insertFault stands in for an Insert; next is the real one.
type insertFault func(ctx context.Context, batch []*event.Event, next func() ([]bool, error)) ([]bool, error)

func (s *faultySink) Insert(ctx context.Context, batch []*event.Event) ([]bool, error) {
	s.checkBatch(batch)
	s.mu.Lock()
	fault := s.onInsert
	if len(batch) > 0 {
		s.sizes, s.times = append(s.sizes, len(batch)), append(s.times, time.Now())
	}
	s.mu.Unlock()
	next := func() ([]bool, error) { return s.real.Insert(ctx, batch) }
	if fault == nil {
		return next()
	}
	return fault(ctx, batch, next)
}

func (s *faultySink) checkBatch(batch []*event.Event) {
	if !slices.Equal(batch, sinktest.Sorted(slices.Clone(batch)...)) {
		s.Error("a batch is not sorted")
	}
	ids, dedupIDs := make(map[uuid7.ID]bool), make(map[[2]string]bool)
	for _, e := range batch {
		dedupID := [2]string{e.OrgID, e.DedupID}
		if ids[e.ID] || e.DedupID != "" && dedupIDs[dedupID] {
			s.Errorf("a batch has %s or %q twice", e.ID, e.DedupID)
		}
		ids[e.ID], dedupIDs[dedupID] = true, true
	}
}

func (s *faultySink) Find(ctx context.Context, batch []*event.Event) ([]*commit.Stored, error) {
	s.mu.Lock()
	fault := s.onFind
	s.finds++
	s.mu.Unlock()
	if fault != nil {
		if err := fault(); err != nil {
			return nil, err
		}
	}
	return s.real.Find(ctx, batch)
}

// inject puts a fault before each Insert from now on; nil puts an end to it.
func (s *faultySink) inject(fault insertFault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onInsert = fault
}

func (s *faultySink) injectIntoFind(fault func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onFind = fault
}

// calls returns the sizes and times of the batches since the last call of it.
func (s *faultySink) calls() (sizes []int, times []time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sizes, times = s.sizes, s.times
	s.sizes, s.times = nil, nil
	return sizes, times
}

func failure(cause commit.Cause) error { return &commit.Failure{Cause: cause, Err: errInjected} }

// failAndNotPersist fails before the batch reaches the database.
func failAndNotPersist(cause commit.Cause) insertFault {
	return func(context.Context, []*event.Event, func() ([]bool, error)) ([]bool, error) {
		return nil, failure(cause)
	}
}

// failButPersist loses the answer of a batch that was stored.
func failButPersist(cause commit.Cause) insertFault {
	return func(_ context.Context, _ []*event.Event, next func() ([]bool, error)) ([]bool, error) {
		if _, err := next(); err != nil {
			return nil, err
		}
		return nil, failure(cause)
	}
}

// freeze answers nothing until ctx ends.
func freeze(ctx context.Context, _ []*event.Event, _ func() ([]bool, error)) ([]bool, error) {
	<-ctx.Done()
	return nil, failure(commit.Uncertain)
}

// refuse does not accept one event, and with it its batch.
func refuse(bad *event.Event) insertFault {
	return func(_ context.Context, batch []*event.Event, next func() ([]bool, error)) ([]bool, error) {
		for _, e := range batch {
			if e.ID == bad.ID {
				return nil, failure(commit.Refused)
			}
		}
		return next()
	}
}

// first injects a fault into the first n calls.
func first(n int, fault insertFault) insertFault {
	return func(ctx context.Context, batch []*event.Event, next func() ([]bool, error)) ([]bool, error) {
		if n == 0 {
			return next()
		}
		n--
		return fault(ctx, batch, next)
	}
}

// A gate holds calls of Insert back.
type gate struct {
	entered chan struct{} // a token for each call that came to it
	open    chan struct{} // closed to let all pass
}

// hold closes a gate before the sink. It is opened when the test ends, at the latest.
func (f *fixture) hold() *gate {
	return f.sink.hold(func(_ context.Context, _ []*event.Event, next func() ([]bool, error)) ([]bool, error) { return next() })
}

// hold closes a gate before a fault.
func (s *faultySink) hold(behind insertFault) *gate {
	g := &gate{entered: make(chan struct{}, 1), open: make(chan struct{})}
	s.inject(func(ctx context.Context, batch []*event.Event, next func() ([]bool, error)) ([]bool, error) {
		select {
		case g.entered <- struct{}{}:
		default:
		}
		<-g.open
		return behind(ctx, batch, next)
	})
	s.Cleanup(g.release)
	return g
}

func (g *gate) release() {
	select {
	case <-g.open:
	default:
		close(g.open)
	}
}
