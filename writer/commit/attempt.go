package commit

import (
	"context"
	"errors"
	"time"

	"keygate/shared/uuid7"
	"keygate/writer/event"
)

// errNeither is met when another unique index than ours decides about events.
var errNeither = errors.New("events conflict with a database that holds neither their ids nor their dedup ids")

// attempt makes one Insert for rows, and one Find for those that it did not store. It answers every row whose truth it
// learns; without an error, that is at least one.
func (w *worker) attempt(rows []row) error {
	ctx, cancel := context.WithTimeout(context.Background(), w.callTime())
	defer cancel()
	s := &w.space
	defer s.clear()
	s.collapse(rows)

	stored, err := w.insert(ctx, s.eventsOf(s.leaders))
	if err != nil {
		if CauseOf(err) == Uncertain {
			doubt(s.leaders)
			doubt(s.others)
		}
		return err
	}
	learnt := 0
	for i, r := range s.leaders {
		if stored[i] {
			w.answer(r, Answer{Accepted, r.ID})
			learnt++
		} else {
			s.others = append(s.others, r)
		}
	}
	w.deliver()
	if len(s.others) == 0 {
		return nil
	}

	w.health.countFind()
	found, err := w.sink.Find(ctx, s.eventsOf(s.others))
	for i, stored := range found {
		if r := s.others[i]; stored != nil {
			w.answer(r, decide(r.Event, stored))
			learnt++
		}
	}
	if err == nil && learnt == 0 {
		err = &Failure{Unavailable, errNeither}
	}
	w.deliver()
	if err != nil {
		doubt(s.others) // what they met may be their own earlier attempts
	}
	return err
}

func (w *worker) insert(ctx context.Context, batch []*event.Event) ([]bool, error) {
	start := time.Now()
	stored, err := w.sink.Insert(ctx, batch)
	w.health.countInsert(len(batch), err)
	if err == nil && len(batch) > 0 {
		w.metrics.batchRows.Observe(float64(len(batch)))
		w.metrics.commitSeconds.Observe(time.Since(start).Seconds())
	}
	return stored, err
}

func doubt(rows []*row) {
	for _, r := range rows {
		r.doubtful = true
	}
}

// A space is memory that one attempt after the other uses.
type space struct {
	leaders []*row // the batch for Insert
	others  []*row // to be looked up after it
	events  []*event.Event
	ids     map[uuid7.ID]struct{} // of the leaders
}

// collapse parts sorted rows into leaders and others: those whose id or dedup id belongs to a row before them. Where the
// leader is stored, the others meet it like any stored row; where it is not, they are tried next.
func (s *space) collapse(rows []row) {
	for i := range rows {
		r := &rows[i]
		_, sameID := s.ids[r.ID]
		if sameID || i > 0 && sameDedup(&rows[i-1], r) {
			s.others = append(s.others, r)
			continue
		}
		s.ids[r.ID] = struct{}{}
		s.leaders = append(s.leaders, r)
	}
}

// eventsOf returns the events of rows, until its next call.
func (s *space) eventsOf(rows []*row) []*event.Event {
	s.events = s.events[:0]
	for _, r := range rows {
		s.events = append(s.events, r.Event)
	}
	return s.events
}

// clear lets go of the events. The rows do so themselves.
func (s *space) clear() {
	clear(s.events[:cap(s.events)])
	clear(s.ids)
	s.leaders, s.others, s.events = s.leaders[:0], s.others[:0], s.events[:0]
}

func sameDedup(a, b *row) bool {
	return a.DedupID != "" && a.DedupID == b.DedupID && a.OrgID == b.OrgID
}
