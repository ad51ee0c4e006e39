package run

import (
	"context"
	"sync/atomic"
	"time"
)

// arrivals gives out the moments at which an open loop is to send, one every 1/rate of a second however the answers
// come. A moment that has passed is taken at once. A moment to come is waited for by one idle connection at a time, the
// one with the turn, which passes the turn on and sends: nobody else has to be woken in between.
type arrivals struct {
	rate  float64
	count int64
	next  atomic.Int64 // number of the next moment
	turn  chan struct{}
}

func newArrivals(limit Limit) *arrivals {
	count := limit.Requests
	if count == 0 {
		count = int64(limit.Duration.Seconds() * limit.Rate)
	}
	return &arrivals{rate: limit.Rate, count: count, turn: make(chan struct{}, 1)}
}

// take waits for the next moment (time since start). idle tells whether the caller had to: how late it is then is the
// generator's own doing. ok is false after the last moment, and once ctx has ended.
func (a *arrivals) take(ctx context.Context, start time.Time) (at time.Duration, idle, ok bool) {
	for ctx.Err() == nil {
		i := a.next.Load()
		taken := false
		if i < a.count && a.moment(i) > time.Since(start) {
			idle = true
			i, taken = a.await(ctx, start)
		}
		if i >= a.count {
			break
		}
		if taken || a.next.CompareAndSwap(i, i+1) {
			return a.moment(i), idle, true
		}
	}
	return 0, idle, false
}

// await waits for the turn and then for the next moment, and takes it unless a connection that came free was faster.
func (a *arrivals) await(ctx context.Context, start time.Time) (i int64, taken bool) {
	a.turn <- struct{}{}
	defer func() { <-a.turn }()
	i = a.next.Load()
	if i >= a.count {
		return i, false
	}
	if wait := a.moment(i) - time.Since(start); wait > 0 {
		pause(ctx, wait)
	}
	return i, ctx.Err() == nil && a.next.CompareAndSwap(i, i+1)
}

func (a *arrivals) moment(i int64) time.Duration {
	return time.Duration(float64(i) / a.rate * float64(time.Second))
}

// pause waits for d, or until ctx ends: roughly by timer, which the runtime rounds to a millisecond, and exactly at
// the end.
func pause(ctx context.Context, d time.Duration) {
	const rough = 2 * time.Millisecond
	if d > rough {
		began := time.Now()
		timer := time.NewTimer(d - rough)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		d -= time.Since(began)
	}
	if d > 0 {
		nap(d)
	}
}
