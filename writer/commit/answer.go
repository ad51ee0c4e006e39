package commit

import (
	"errors"

	"keygate/shared/uuid7"
	"keygate/writer/event"
)

// Errors of Submit. Nothing of the request was admitted, so nothing of it is stored or will be.
var (
	ErrQueueFull = errors.New("the queue of events is full")
	ErrClosed    = errors.New("the writer is shutting down")
)

// Answer is the truth about one event.
type Answer struct {
	Outcome Outcome
	ID      uuid7.ID // of the stored event for Duplicate and Conflict, else the event's own
}

// Outcome is what became of an event. Its String is a label of metrics.
type Outcome uint8

// The outcomes.
const (
	Accepted      Outcome = iota + 1 // durable, by this call or by an earlier attempt with the same id
	Duplicate                        // the same event is durable already, under another id
	Conflict                         // another event has its dedup id
	IDReused                         // another event has its id
	Unstorable                       // the database does not accept its data
	NotStored                        // not stored: the database did not take it before its deadline
	HeldBack                         // not stored: the database has refused too much of its organisation
	DiskFull                         // not stored: no room on the database's disk
	CommitUnknown                    // stored or not: the answer to a commit was lost until after the deadline

	queueFull // what Submit's errors count as
	closed
)

var outcomes = [...]string{
	Accepted: "accepted", Duplicate: "duplicate", Conflict: "conflict", IDReused: "id_reused",
	Unstorable: "unstorable", NotStored: "not_stored", HeldBack: "held_back",
	DiskFull: "disk_full", CommitUnknown: "commit_unknown",
	queueFull: "queue_full", closed: "closed",
}

func (o Outcome) String() string { return outcomes[o] }

// decide answers an event by the row that it met. The own id counts first: a row that has it is an earlier attempt of
// this event, or another event altogether, but never a duplicate.
func decide(e *event.Event, found *Stored) Answer {
	same := event.Same(e.Type, e.Payload, found.Type, found.Payload)
	switch {
	case found.ID == e.ID && same && found.DedupID == e.DedupID:
		return Answer{Accepted, e.ID}
	case found.ID == e.ID:
		return Answer{IDReused, e.ID}
	case same:
		return Answer{Duplicate, found.ID}
	default:
		return Answer{Conflict, found.ID}
	}
}
