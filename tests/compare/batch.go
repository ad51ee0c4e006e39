package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"time"

	"keygate/shared/database"
	"keygate/shared/uuid7"
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
	return []subject{own, {
		name: "the statement alone, in a loop", version: "the writer's own statement on one connection",
		parts: append([]programs.Part{{Name: "loop", PID: os.Getpid(), Alone: true}}, b.Servers()[:1]...), load: b.loop,
	}}, nil
}

// loop stores batches by the writer's own statement as fast as one connection does, without HTTP, queue or decoding.
func (b *bench) loop(ctx context.Context) (figures, error) {
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
		if _, err := sink.Insert(ctx, b.newBatch(begun, events)); err != nil {
			return figures{}, fmt.Errorf("inserting a batch: %w", err)
		}
		events += b.batch
	}
	return figures{Events: events, PerSecond: float64(events) / time.Since(begun).Seconds(), Success: 1}, nil
}

// newBatch has what the load generator sends, of one organisation after another, and is sorted as the sink wants it, by id.
func (b *bench) newBatch(begun time.Time, stored int) []*event.Event {
	now, batch := uuid7.Mint(time.Now()), make([]*event.Event, b.batch)
	org := b.keys[stored/b.batch%len(b.keys)].OrgID
	for i := range batch {
		n := 1_000_000_000 + stored + i
		batch[i] = &event.Event{
			ID: now.Item(i), OrgID: org, Type: "contact.created", DedupID: fmt.Sprintf("loop-%d-%d", begun.UnixMilli(), n),
			Payload: fmt.Appendf(nil,
				`{"email":"user%d@example.com","name":"Test User","plan":"pro","n":%[1]d,"tags":["a","b","c"]}`, n),
		}
	}
	return batch
}
