// Package event is the writer's domain: what is stored, what is accepted, and when two events are the same.
// It does no I/O.
package event

import (
	"time"

	"keygate/shared/uuid7"
)

// Limits of an event. Sizes are bytes.
const (
	MaxName      = 255  // of type and of dedup_id
	MaxDepth     = 64   // of nested arrays and objects, the payload itself being 1
	MaxDigits    = 1000 // of a number written out without exponent
	MaxBatch     = 1000 // events in one batch request
	MaxBatchBody = 8 << 20
)

// Event is one accepted event. It owns its bytes: nothing of it aliases a request's buffers.
type Event struct {
	ID      uuid7.ID
	OrgID   string
	Type    string
	DedupID string // "" when the client gave none
	Payload []byte // the JSON object as the client wrote it, valid and storable
}

// CreatedAt is the millisecond in the id, in UTC.
func (e *Event) CreatedAt() time.Time { return e.ID.Time() }

// Size is what the event counts for in a queue bounded by bytes.
func (e *Event) Size() int { return len(e.OrgID) + len(e.Type) + len(e.DedupID) + len(e.Payload) }
