package auth

import (
	"math/rand/v2"
	"time"
)

// A doubt (a subscription that was lost, a gap in the change log) says that evictions may have been missed, so that the
// shared cache may hold what is not true any more: a DEL that a fail-over lost, a change that nobody read. Records that
// were filled before it are suspect. One answers for at most CacheTTL from the doubt on, and is verified with the source
// meanwhile; where the source cannot be asked, it is the last known answer.

// doubt notes that everything is in doubt from now on.
func (r *Resolver) doubt() { r.doubtClock(0) }

// A cache believes no record that is further ahead of its clock than this.
const clockSlack = 5 * time.Second

// doubtClock is doubt for a shared cache whose clock has jumped: a record from before can seem to be as much younger.
func (r *Resolver) doubtClock(jump time.Duration) {
	now := r.clock.steady(time.Now())
	upTo := now + min(jump, clockSlack).Milliseconds()
	for known := r.suspectUpTo.Load(); known < upTo && !r.suspectUpTo.CompareAndSwap(known, upTo); {
		known = r.suspectUpTo.Load()
	}
	r.doubtedAt.Store(now)
	r.gens.demoteAll()
}

// suspect says whether a record may have been filled before the last doubt, and until when it may answer all the same.
func (r *Resolver) suspect(rec *Record) (until int64, suspect bool) {
	at := r.doubtedAt.Load()
	return at + r.CacheTTL.Milliseconds(), at > 0 && r.clock.earliest(rec.FilledAt) <= r.suspectUpTo.Load()
}

// toVerify says whether the time has come to ask the source about the record that was seen.
func (r *Resolver) toVerify(q *quest) bool {
	until, suspect := r.suspect(&q.seen.Record)
	now := r.clock.steady(time.Now())
	return suspect && (now >= until || q.sameFill() && now >= q.copied.refreshAt())
}

// sameFill says that the copy in memory was made of the very record that was seen.
func (q *quest) sameFill() bool { return q.copied != nil && q.copied.madeOf(&q.seen.Record) }

// provisional is the lifetime of a copy of a suspect record: when it is seen again after refreshAt, it is verified. That
// is spread over the time there is, so that the source is not asked about everything at once. A doubt that follows
// another does not put it off.
func (r *Resolver) provisional(q *quest, until int64) lifetime {
	now := r.clock.steady(time.Now())
	left := max(0, until-now)
	life := lifetime{
		freshUntil: until,
		refreshAt:  now + left/10 + rand.Int64N(left*7/10+1),
		readAt:     r.clock.toSteady(q.seen.Record.ReadAt),
	}
	if q.sameFill() {
		life.freshUntil = min(life.freshUntil, q.copied.freshUntil())
		life.refreshAt = min(life.refreshAt, q.copied.refreshAt())
	}
	return life
}
