package commit_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"keygate/writer/commit"
	"keygate/writer/event"
	"keygate/writer/sinktest"
)

// BenchmarkSubmit measures what group commit itself costs an event: the sink stores nothing. Beside it is the least that
// a hand-over to one goroutine and back costs.
func BenchmarkSubmit(b *testing.B) {
	for _, clients := range []int{1, 200} {
		b.Run(fmt.Sprintf("by=commit/clients=%d", clients), func(b *testing.B) {
			b.ReportAllocs()
			c := commit.New(commit.Config{Sink: &nowhere{}})
			ctx, stop := context.WithCancel(b.Context())
			var running sync.WaitGroup
			running.Go(func() { c.Run(ctx) })
			defer running.Wait()
			defer stop()
			b.SetParallelism(clients)
			b.RunParallel(func(pb *testing.PB) {
				events := sinktest.NewEvents("a", 1)
				for pb.Next() {
					if _, err := c.Submit(b.Context(), events); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(c.Stats().MeanRows, "rows/batch")
		})
		b.Run(fmt.Sprintf("by=channels/clients=%d", clients), func(b *testing.B) {
			b.ReportAllocs()
			queue := make(chan chan struct{}, clients)
			var running sync.WaitGroup
			running.Go(func() {
				for answer := range queue {
					answer <- struct{}{}
				}
			})
			b.SetParallelism(clients)
			b.RunParallel(func(pb *testing.PB) {
				answer := make(chan struct{}, 1)
				for pb.Next() {
					queue <- answer
					<-answer
				}
			})
			close(queue)
			running.Wait()
		})
	}
}

// nowhere says that it has stored everything.
type nowhere struct{ stored []bool }

func (n *nowhere) Insert(_ context.Context, batch []*event.Event) ([]bool, error) {
	n.stored = n.stored[:0]
	for range batch {
		n.stored = append(n.stored, true)
	}
	return n.stored, nil
}

func (n *nowhere) Find(_ context.Context, batch []*event.Event) ([]*commit.Stored, error) {
	return make([]*commit.Stored, len(batch)), nil
}
