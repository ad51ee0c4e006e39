package commit

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// After a failure the committer waits, twice as long each time, of which a random half, so that several writers do not
// come back together. The longest wait bounds what an outage costs beyond its own end. Overload always waits as long.
const (
	firstWait   = 10 * time.Millisecond
	longestWait = 250 * time.Millisecond
)

// In an outage without events the committer asks this often whether it is over: a writer that is not ready may be sent
// no events that would show it.
const probeEvery = time.Second

// remaining returns what still waits of rows, a part of the batch, after it has given up what is due of all the batch, and
// of rows what is held back. Of the queue behind it only what the helper has put back can be as old.
func (c *Committer) remaining(rows []row) []row {
	now := time.Now()
	for i := range c.batch {
		if r := &c.batch[i]; r.waits() && !now.Before(r.request.deadline) {
			c.giveUp(r, NotStored)
		}
	}
	if len(c.suspects) > 0 {
		c.holdBack(rows)
	}
	for _, r := range c.queue.due(now) {
		c.giveUp(&r, NotStored)
	}
	c.deliver()
	return slices.DeleteFunc(rows, func(r row) bool { return !r.waits() })
}

// holdBack gives up rows of those who have made too many calls fail.
func (c *Committer) holdBack(rows []row) {
	for i := range rows {
		if r := &rows[i]; r.waits() && !c.suspects.mayFail(r.OrgID) {
			c.giveUp(r, HeldBack)
		}
	}
}

// giveUp answers a row that no attempt has settled, if it waits.
func (c *Committer) giveUp(r *row, outcome Outcome) {
	if !r.waits() {
		return
	}
	if r.doubtful {
		outcome = CommitUnknown
	}
	c.answer(r, Answer{outcome, r.ID})
}

// refuse answers a row that the database took for wrong. Validation is to be such that this is a bug.
func (c *Committer) refuse(r *row, err error) {
	c.config.Logger.Error("the database refused a valid event", "event_id", r.ID, "org_id", r.OrgID, "error", err)
	c.suspects.accuse(r.OrgID)
	c.suspects.charge([]row{*r})
	c.answer(r, Answer{Unstorable, r.ID})
}

// idle waits for events, or for the time to ask whether an outage is over.
func (c *Committer) idle() {
	if c.health.snapshot().outage == nil {
		<-c.queue.wake
		return
	}
	timer := time.NewTimer(probeEvery)
	defer timer.Stop()
	select {
	case <-c.queue.wake:
	case <-timer.C:
		c.probe()
	}
}

// probe is an Insert of nothing.
func (c *Committer) probe() {
	ctx, cancel := context.WithTimeout(context.Background(), c.config.CallLimit)
	defer cancel()
	_, err := c.insert(ctx, nil)
	c.observe(err)
}

func (c *Committer) backOff(cause Cause) {
	wait := longestWait
	if cause != Overloaded {
		wait = min(firstWait<<min(c.failures, 10), longestWait)
	}
	time.Sleep(wait/2 + rand.N(wait/2))
}

// observe learns from an attempt. Changes are logged, not attempts.
func (c *Committer) observe(err error) {
	before, after := c.health.note(err)
	if after == nil {
		c.failures = 0
		if before != nil {
			c.config.Logger.Info("the database takes events again",
				"after", time.Since(before.Since).Round(time.Millisecond))
		}
		return
	}
	c.failures++
	if before == nil || before.Cause != after.Cause {
		c.config.Logger.Warn("the database does not take events", "cause", after.Cause, "error", after.Error)
	}
}
