package app

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// With less garbage than this between two collections, the collector would run all the time.
	minGarbage   = 16 << 20
	paceInterval = time.Second
)

// paceCollector lets garbage grow as large as what is in use, which is Go's own rule, but without the records in memory
// in the count. They hold no pointers, so that they cost the collector nothing; counted in, they would take their size
// twice. Whoever sets GOGC decides differently.
func (a *App) paceCollector(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		<-ctx.Done()
		return ctx.Err()
	}
	percent := 100
	defer debug.SetGCPercent(percent)
	for {
		// Each change stops the world for some microseconds: an eighth more or less is not worth one.
		if next := gcPercent(a.memory.Inert() + a.negative.Inert()); max(next, percent)-min(next, percent) > percent/8 {
			percent = next
			debug.SetGCPercent(percent)
		}
		if !pause(ctx, paceInterval) {
			return ctx.Err()
		}
	}
}

// gcPercent is GOGC such that the rule holds for what is in use now.
func gcPercent(inert int) int {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
	}
	metrics.Read(samples)
	var counted uint64
	for _, s := range samples {
		counted += s.Value.Uint64()
	}
	garbage := max(counted-min(uint64(inert), counted), minGarbage)
	return int(max(1, garbage*100/max(1, counted)))
}
