package auth

import "time"

// While the source is out of reach, a last known copy answers for a second before the next attempt: an outage must not
// cost every request a time-out.
const lastKnownInterval = time.Second

// lastKnown answers from what was known before the source went out of reach, for StaleIfError after it was last read. A
// copy that a look was heard about, and that could not be confirmed, is not known any more.
func (r *Resolver) lastKnown(q *quest) answer {
	now := r.clock.steady(time.Now())
	inTime := func(readAt int64) bool { return now < readAt+r.StaleIfError.Milliseconds() }
	switch {
	case q.why == doubted: // the copy that was doubted is no worse than before
	case q.held() && inTime(r.clock.toSteady(q.seen.Record.ReadAt)):
		return q.answer(r.keep(q, &q.seen.Record, flagShared|flagLastKnown))
	case q.copied != nil && inTime(q.copied.readAt()) && !q.looked():
		flags := q.copied.flags() | flagLastKnown
		if q.inDoubt() {
			flags |= flagDoubted
		}
		q.copied.restamp(q.note, r.lifetime(q.began, q.copied.readAt(), flags), flags)
		r.Memory.Set(q.prefix, q.copied)
		return q.answer(q.copied)
	}
	return q.failed(Unavailable)
}

// looked says that a look was heard about the copy, and it is not confirmed.
func (q *quest) looked() bool { return q.copied.note().looks != q.note.looks }

// inDoubt says that the shared cache has not been seen to hold the copy's record since a doubt.
func (q *quest) inDoubt() bool {
	return q.copied.is(flagDoubted) || q.copied.note().demotes != q.note.demotes
}
