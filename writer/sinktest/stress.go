package sinktest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"keygate/shared/database"
	"keygate/shared/uuid7"
	"keygate/writer/commit"
	"keygate/writer/event"
)

// Stress lets clients of two committers on one database send events for some time, of which one in
// twelve repeats an event that another client may just be sending to the other committer, and one in fifty has its dedup
// id but is another event. Then each answer is compared with the table.
func Stress(t *testing.T, u database.URL, open Opener, clients int, d time.Duration) {
	Migrate(t, u)
	var committers [2]*commit.Committer
	ctx, stop := context.WithCancel(context.Background())
	var running, sending sync.WaitGroup
	for i := range committers {
		config := commit.Config{Sink: open(t, u)}
		if i == 0 { // of small batches, so that the second sink has work, too
			config.Second, config.MaxBatch = open(t, u), 32
		}
		committers[i] = commit.New(config)
		running.Go(func() { committers[i].Run(ctx) })
	}
	results := make([][]result, clients)
	end := time.Now().Add(d)
	for i := range results {
		sending.Go(func() {
			for time.Now().Before(end) {
				e := stressEvent()
				answers, err := committers[i%2].Submit(context.Background(), []*event.Event{e})
				if err != nil {
					t.Error(err)
					return
				}
				results[i] = append(results[i], result{e, answers[0]})
			}
		})
	}
	sending.Wait()
	stop()
	running.Wait()
	checkResults(t, Connect(t, u), results)
}

type result struct {
	event  *event.Event
	answer commit.Answer
}

func stressEvent() *event.Event {
	e := NewEvent(fmt.Sprint("org-", rand.N(3)), "")
	// New ones all the time, and few at once, so that events meet within a batch and across the two committers.
	shared := fmt.Sprint("shared-", time.Now().UnixMilli()/50, "-", rand.N(4))
	switch kind := rand.N(100); {
	case kind < 8:
		e.DedupID, e.Payload = shared, []byte(`{"shared": true}`)
	case kind < 10:
		e.DedupID = shared
	default:
		e.DedupID = e.ID.String()
	}
	return e
}

func checkResults(t *testing.T, db *database.DB, results [][]result) {
	t.Helper()
	stored := readAll(t, db)
	tally := make(map[commit.Outcome]int)
	accepted := make(map[uuid7.ID]bool)
	for _, ofClient := range results {
		for _, r := range ofClient {
			tally[r.answer.Outcome]++
			row, ok := stored[r.answer.ID]
			same := ok && event.Same(row.Type, row.Payload, r.event.Type, r.event.Payload) && row.DedupID == r.event.DedupID
			switch r.answer.Outcome {
			case commit.Accepted:
				accepted[r.answer.ID] = true
				if !same || r.answer.ID != r.event.ID {
					t.Errorf("%s was accepted as %s, and the row is %v", r.event.ID, r.answer.ID, row)
				}
			case commit.Duplicate:
				if !same || r.answer.ID == r.event.ID {
					t.Errorf("%s is called a duplicate of %s, and the row is %v", r.event.ID, r.answer.ID, row)
				}
			case commit.Conflict:
				if !ok || same || row.DedupID != r.event.DedupID {
					t.Errorf("%s is said to conflict with %s, and the row is %v", r.event.ID, r.answer.ID, row)
				}
			default:
				t.Errorf("%s is %v", r.event.ID, r.answer.Outcome)
			}
		}
	}
	if len(accepted) != len(stored) || len(accepted) != tally[commit.Accepted] {
		t.Errorf("%d answers accept %d events, and %d are stored", tally[commit.Accepted], len(accepted), len(stored))
	}
	if tally[commit.Duplicate] == 0 {
		t.Errorf("nothing met anything: %v", tally)
	}
	CheckTables(t, db)
	t.Log(tally)
}

func readAll(t *testing.T, db *database.DB) map[uuid7.ID]commit.Stored {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "select cast(id as text), type, coalesce(dedup_id, ''), payload from events")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	stored := make(map[uuid7.ID]commit.Stored)
	for rows.Next() {
		var id []byte
		var row commit.Stored
		if err := rows.Scan(&id, &row.Type, &row.DedupID, &row.Payload); err != nil {
			t.Fatal(err)
		}
		if row.ID, err = uuid7.Parse(id); err != nil {
			t.Fatal(err)
		}
		stored[row.ID] = row
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return stored
}
