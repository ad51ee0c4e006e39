package pgsink_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"keygate/tests/servers"
	"keygate/writer/commit"
	"keygate/writer/event"
	"keygate/writer/sinktest"
)

// BenchmarkInsert has beside it two ways without the sink, which know neither duplicates nor faults: COPY into both
// tables, and the barest insert from arrays.
func BenchmarkInsert(b *testing.B) {
	b.Run("by=pgsink", func(b *testing.B) {
		u := sinktest.ParseURL(b, servers.Postgres(b).Database(b))
		sinktest.Migrate(b, u)
		sinktest.Bench(b, open(b, u))
	})
	for name, store := range map[string]func(context.Context, pgx.Tx, []*event.Event) error{
		"by=copy": copyBatch, "by=unnest": unnestBatch,
	} {
		b.Run(name, func(b *testing.B) {
			url := servers.Postgres(b).Database(b)
			sinktest.Migrate(b, sinktest.ParseURL(b, url))
			conn, err := pgx.Connect(b.Context(), url)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = conn.Close(context.Background()) })
			sinktest.Bench(b, &bare{conn: conn, store: store})
		})
	}
}

// bare is a sink that only inserts.
type bare struct {
	conn  *pgx.Conn
	store func(context.Context, pgx.Tx, []*event.Event) error
}

func (s *bare) Insert(ctx context.Context, batch []*event.Event) ([]bool, error) {
	return nil, pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error { return s.store(ctx, tx, batch) })
}

func (s *bare) Find(context.Context, []*event.Event) ([]*commit.Stored, error) {
	return nil, errors.New("a bare insert finds nothing")
}

func copyBatch(ctx context.Context, tx pgx.Tx, batch []*event.Event) error {
	now := time.Now()
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"events"}, []string{"id", "org_id", "type", "dedup_id", "payload", "created_at"},
		pgx.CopyFromSlice(len(batch), func(i int) ([]any, error) {
			e := batch[i]
			return []any{[16]byte(e.ID), e.OrgID, e.Type, e.DedupID, e.Payload, now}, nil
		}))
	if err != nil {
		return err
	}
	_, err = tx.CopyFrom(ctx, pgx.Identifier{"event_deliveries"},
		[]string{"id", "org_id", "event_id", "status", "attempts", "next_attempt_at", "created_at"},
		pgx.CopyFromSlice(len(batch), func(i int) ([]any, error) {
			id := [16]byte(batch[i].ID)
			return []any{id, batch[i].OrgID, id, "pending", 0, now, now}, nil
		}))
	return err
}

func unnestBatch(ctx context.Context, tx pgx.Tx, batch []*event.Event) error {
	var ids [][16]byte
	var orgs, types, dedups, payloads []string
	for _, e := range batch {
		ids, orgs, types = append(ids, [16]byte(e.ID)), append(orgs, e.OrgID), append(types, e.Type)
		dedups, payloads = append(dedups, e.DedupID), append(payloads, string(e.Payload))
	}
	if _, err := tx.Exec(ctx, `insert into events (id, org_id, type, dedup_id, payload, created_at)
		select *, now() from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::jsonb[])`,
		ids, orgs, types, dedups, payloads); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `insert into event_deliveries (id, org_id, event_id, status, attempts, next_attempt_at, created_at)
		select id, org, id, 'pending', 0, now(), now() from unnest($1::uuid[], $2::text[]) as e (id, org)`, ids, orgs)
	return err
}
