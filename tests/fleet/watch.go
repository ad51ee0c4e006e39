package main

import (
	"context"
	"time"
)

// refusal is when a proxy stopped letting a key through, as far as somebody can tell who asks again and again.
type refusal struct {
	passed  time.Time // when the last request was sent that was let through; zero: none was
	refused time.Time // when the first refusal had arrived
	status  int       // of it; 0: the key was let through all the time
	err     error
}

// watch asks a proxy with a key, a pause after each answer, until it is refused or the limit is over.
func watch(ctx context.Context, c *client, k key, pause func() time.Duration, limit time.Duration) (r refusal) {
	began := time.Now()
	for sent := began; ctx.Err() == nil && sent.Sub(began) < limit; sent = time.Now() {
		status, err := c.ask(k.text)
		if err != nil {
			return refusal{err: err}
		}
		if !passes(status) {
			r.refused, r.status = time.Now(), status
			return r
		}
		r.passed = sent
		time.Sleep(pause())
	}
	r.err = ctx.Err()
	return r
}

// every is a pause that is always the same.
func every(d time.Duration) func() time.Duration { return func() time.Duration { return d } }
