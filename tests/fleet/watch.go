package main

import (
	"context"
	"time"
)

// missing is when a key that is still let through counts as missed.
const missing = 10 * time.Second

// refusal is when a proxy stopped letting a key through, as far as somebody can tell who asks again and again.
type refusal struct {
	passed  time.Time // when the last request was sent that was let through; without any, when asking began
	refused time.Time // when the first refusal had arrived
	status  int       // of it; 0: it was still let through after a long time
	err     error
}

// watch asks a proxy with a key, a pause after each answer, until it is refused.
func watch(ctx context.Context, c *client, k key, pause time.Duration) (r refusal) {
	began := time.Now()
	r.passed = began
	for sent := began; ctx.Err() == nil && sent.Sub(began) < missing; sent = time.Now() {
		status, err := c.ask(k.text)
		if err != nil {
			return refusal{err: err}
		}
		if !passes(status) {
			r.refused, r.status = time.Now(), status
			return r
		}
		r.passed = sent
		time.Sleep(pause)
	}
	r.err = ctx.Err()
	return r
}
