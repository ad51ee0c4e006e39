package sinktest

import (
	"fmt"
	"testing"
	"time"

	"keygate/shared/uuid7"
	"keygate/writer/commit"
	"keygate/writer/event"
)

// Bench measures Insert of new events with a dedup id and a payload of 170 bytes, by the size of the batch.
func Bench(b *testing.B, sink commit.Sink) {
	payload := []byte(`{"user_id": "usr_8f3k2", "amount": 129.95, "currency": "EUR", "items": [{"sku": "A-100", ` +
		`"qty": 2}, {"sku": "B-7", "qty": 1}], "note": "first order of the month", "ok": true}`)
	for _, rows := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			b.ReportAllocs()
			batch := NewEvents("6f1d6a52-3b0e-4c5e-9f5e-0a7e1f6f2a11", rows)
			for b.Loop() {
				b.StopTimer()
				now := time.Now()
				for _, e := range batch {
					*e = event.Event{ID: uuid7.Mint(now), OrgID: e.OrgID, Type: e.Type, Payload: payload}
					e.DedupID = "order-" + e.ID.String()[24:]
				}
				Sorted(batch...)
				b.StartTimer()
				if _, err := sink.Insert(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*rows)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
