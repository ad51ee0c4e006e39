package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"keygate/shared/database"
	"keygate/shared/uuid7"
	"keygate/tests/load/traffic"
	"keygate/tests/programs"
	"keygate/writer/event"
	"keygate/writer/pgsink"
)

// batchConnections is how many clients send batches: more of 500 would only wait in the writer's queue.
const batchConnections = 16

func openBatch(ctx context.Context, b *bench) ([]subject, error) {
	own, err := openKeygate(ctx, b)
	if err != nil {
		return nil, err
	}
	own.load = b.loadtest(own.target+"/v1/events/batch", "--batch", strconv.Itoa(b.batch),
		"--concurrency", strconv.Itoa(batchConnections))
	alone := func(name string, connections int) subject {
		return subject{
			name: name, version: fmt.Sprintf("the writer's own statement on %d connections", connections),
			parts: append([]programs.Part{{Name: "loop", PID: os.Getpid(), Alone: true}}, b.Servers()[:1]...),
			load:  func(ctx context.Context) (figures, error) { return b.loops(ctx, connections) },
		}
	}
	return []subject{own, alone("the statement alone, in a loop", 1), alone("the statement alone, in two loops", 2)}, nil
}

// loops store batches beside each other.
func (b *bench) loops(ctx context.Context, n int) (all figures, err error) {
	each, errs := make([]figures, n), make([]error, n)
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() { each[i], errs[i] = b.loop(ctx, fmt.Sprintf("loop-%d", i)) })
	}
	running.Wait()
	all.Success = 1
	for _, f := range each {
		all.Events, all.PerSecond = all.Events+f.Events, all.PerSecond+f.PerSecond
	}
	return all, errors.Join(errs...)
}

// loop stores batches by the writer's own statement as fast as one connection does, without HTTP, queue or decoding.
func (b *bench) loop(ctx context.Context, name string) (figures, error) {
	url, err := database.Parse(b.Postgres.URL(programs.OwnDatabase))
	if err != nil {
		return figures{}, err
	}
	sink, err := pgsink.New(pgsink.Config{URL: url, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		return figures{}, err
	}
	defer sink.Close()
	var events int
	begun := time.Now()
	for time.Since(begun) < b.duration {
		if _, err := sink.Insert(ctx, b.newBatch(fmt.Sprintf("%s-%d", name, begun.UnixMilli()), events)); err != nil {
			return figures{}, fmt.Errorf("inserting a batch: %w", err)
		}
		events += b.batch
	}
	return figures{Events: events, PerSecond: float64(events) / time.Since(begun).Seconds()}, nil
}

// newBatch has what the load generator sends, of one organisation after another, and is sorted as the sink wants it, by id.
func (b *bench) newBatch(run string, stored int) []*event.Event {
	now, batch := uuid7.Mint(time.Now()), make([]*event.Event, b.batch)
	org := b.keys[stored/b.batch%len(b.keys)].OrgID
	for i := range batch {
		n := 1_000_000_000 + stored + i
		batch[i] = &event.Event{
			ID: now.Item(i), OrgID: org, Type: "contact.created", DedupID: fmt.Sprintf("%s-%d", run, n),
			Payload: []byte(traffic.Payload(strconv.Itoa(n))),
		}
	}
	return batch
}
