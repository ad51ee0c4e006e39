package sinktest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"keygate/shared/database"
	"keygate/writer/commit"
	"keygate/writer/event"
)

func (f *fixture) testOwnIDFirst() {
	one, two := NewEvent("a", "1"), NewEvent("a", "2")
	f.insert(f.sink, Sorted(one, two), 2)
	asked := *one
	asked.DedupID = two.DedupID
	f.isStored(f.find(f.sink, &asked)[0], one)
}

func (f *fixture) testFindOrder() {
	batch := Sorted(NewEvent("a", "1"), NewEvent("a", "2"), NewEvent("b", ""))
	f.insert(f.sink, batch, 3)
	byDedup := NewEvent("a", "2")
	found := f.find(f.sink, batch[2], NewEvent("a", "3"), batch[0], byDedup, NewEvent("b", ""), batch[1], byDedup)
	for i, want := range []*event.Event{batch[2], nil, batch[0], batch[1], nil, batch[1], batch[1]} {
		if want != nil {
			f.isStored(found[i], want)
		} else if found[i] != nil {
			f.Errorf("answer %d is %v, want nil", i, found[i])
		}
	}
}

func (f *fixture) testVisible() {
	other := f.newSink()
	for range 20 {
		e := NewEvent("a", "")
		f.insert(f.sink, Sorted(e), 1)
		f.isStored(f.find(other, e)[0], e)
	}
}

// testTwoSinks lets two sinks store the same rows, in batches that overlap and in the same order of locks.
func (f *fixture) testTwoSinks() {
	const rounds, rows = 30, 40
	var all sync.WaitGroup
	inserted := make([]int, 2)
	rowsOf := make([][]*event.Event, rounds)
	for round := range rowsOf {
		for i := range rows {
			rowsOf[round] = append(rowsOf[round], NewEvent(fmt.Sprint("org-", i%3), fmt.Sprint(round, "-", i)))
		}
	}
	for number := range inserted {
		sink := f.newSink()
		all.Go(func() {
			for _, batch := range rowsOf {
				stored, err := sink.Insert(context.Background(), Sorted(append([]*event.Event(nil), batch...)...))
				if err != nil {
					f.Error(err)
					return
				}
				for _, fresh := range stored {
					if fresh {
						inserted[number]++
					}
				}
			}
		})
	}
	all.Wait()
	if inserted[0]+inserted[1] != rounds*rows {
		f.Errorf("%d and %d events stored, want %d together", inserted[0], inserted[1], rounds*rows)
	}
	f.events(rounds * rows)
}

// testContext holds a lock that the insert needs for longer than the insert may take.
func (f *fixture) testContext() {
	batch := Sorted(NewEvent("a", "1"), NewEvent("a", ""))
	f.insert(f.sink, nil, 0)
	tx, err := f.db.BeginTx(context.Background(), nil) // on SQLite, this is the lock
	if err != nil {
		f.Fatal(err)
	}
	if f.db.Dialect == database.Postgres {
		if _, err := tx.Exec("lock table events in exclusive mode"); err != nil {
			f.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(f.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err = f.sink.Insert(ctx, batch)
	f.failsAs(err, commit.Overloaded, commit.Uncertain)
	if took := time.Since(start); took > 2*time.Second {
		f.Errorf("the call ended after %v", took)
	}
	if err := tx.Rollback(); err != nil {
		f.Fatal(err)
	}
	if _, err := f.sink.Insert(f.Context(), batch); err != nil {
		f.Fatal(err)
	}
	for i, found := range f.find(f.sink, batch...) {
		f.isStored(found, batch[i])
	}
	f.events(2)
}

func testUnmigrated(t *testing.T, u database.URL, sink commit.Sink) {
	check := func(err error) {
		t.Helper()
		if commit.CauseOf(err) != commit.Unavailable || !errors.Is(err, commit.ErrUnmigrated) {
			t.Errorf("got %v, want ErrUnmigrated", err)
		}
	}
	_, err := sink.Insert(t.Context(), nil)
	check(err)
	_, err = sink.Insert(t.Context(), Sorted(NewEvent("a", "")))
	check(err)
	Migrate(t, u)
	if _, err := sink.Insert(t.Context(), Sorted(NewEvent("a", ""))); err != nil {
		t.Error(err)
	}
}
