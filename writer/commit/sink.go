package commit

import (
	"context"
	"errors"

	"keygate/shared/uuid7"
	"keygate/writer/event"
)

// Sink is where events become durable.
//
// Events of a batch are distinct by id and by (organisation, dedup id), and sorted by (organisation, dedup id, id), so
// that two sinks on one database lock in one order. The sink keeps no reference to them after it returned.
// A batch may be empty: that asks whether the database would take one, over the same path.
// A call ends soon after its ctx. Every error is a *Failure. A sink is used by one goroutine at a time.
type Sink interface {
	// Insert stores every event that conflicts with none stored before, each with its one pending delivery, in one
	// transaction, and is durable once it returns nil. stored[i] says whether batch[i] was inserted now; false means that
	// its id in its organisation, or its dedup id there, is already taken. Running it again with the same batch
	// converges. The sink may use stored again for its next call.
	Insert(ctx context.Context, batch []*event.Event) (stored []bool, err error)
	// Find returns what is stored for each event, in the order of batch: the row of its own id if there is one, else
	// the row of its dedup id, else nil. Here events may repeat. It sees everything committed before the call, and what
	// it returns is as durable as what Insert stores: a row that waits for a standby is waited for.
	Find(ctx context.Context, batch []*event.Event) ([]*Stored, error)
}

// ErrUnmigrated is in the chain of a Failure, Unavailable, when the tables of events are not as this version needs them.
var ErrUnmigrated = errors.New("the database lacks the tables of the events migrations")

// Stored is a row that an event met.
type Stored struct {
	ID      uuid7.ID
	Type    string
	DedupID string // "" when the row has none
	Payload []byte // equal as JSON to what was accepted, not byte by byte
}

// Cause is why a sink failed, which decides what may be done about it.
type Cause uint8

// The causes.
const (
	Unavailable Cause = iota + 1 // nothing is stored for sure; run again once the database answers
	Uncertain                    // stored or not: the answer was lost; run again with the same ids
	Overloaded                   // rolled back by a timeout or for want of resources; run again with less
	Refused                      // rolled back because the database does not accept a row's data
	Full                         // rolled back because the disk is full
)

var causes = [...]string{
	Unavailable: "unavailable", Uncertain: "uncertain", Overloaded: "overloaded", Refused: "refused", Full: "full",
}

func (c Cause) String() string { return causes[c] }

// Failure is an error of a sink with its cause.
type Failure struct {
	Cause Cause
	Err   error
}

var _ error = (*Failure)(nil)

func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the driver's error.
func (f *Failure) Unwrap() error { return f.Err }

// CauseOf returns the cause of a sink's error; an error that is no Failure is Uncertain, the cautious reading.
func CauseOf(err error) Cause {
	if failure, ok := errors.AsType[*Failure](err); ok {
		return failure.Cause
	}
	return Uncertain
}
