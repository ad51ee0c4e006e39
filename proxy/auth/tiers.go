package auth

import (
	"context"
	"crypto/rand"
	mathrand "math/rand/v2"
	"sync"
	"time"
)

// quest is one walk through the tiers for a prefix.
type quest struct {
	prefix    []byte
	why       purpose
	began     int64   // on the steady clock
	note      note    // removes noted before the first read; looks before the read or write of the shared cache that counts
	contested bool    // what stands in the shared cache overwrote our record
	copied    entry   // the copy in memory, perhaps the last known answer; nil if none
	met       bool    // the prefix is no stranger's: memory holds something under it, even if removed, or the source has rows
	shared    bool    // the shared cache may be read and written for this prefix
	seen      Reading // the last reading of the shared cache
	tier      Tier    // that answered
	flooded   bool    // the prefix is one of many that nobody knows
	turn      *turn   // at the source, of a prefix never seen
}

// ask walks through the tiers once: the shared cache, and unless a fresh record stands there, the source.
func (r *Resolver) ask(ctx context.Context, key flightKey) answer {
	q := r.begin(key)
	r.read(ctx, q)
	return r.conclude(ctx, q)
}

// begin notes what has been heard, before anything is read.
func (r *Resolver) begin(key flightKey) *quest {
	q := &quest{prefix: []byte(key.prefix), why: key.purpose, began: r.clock.steady(time.Now())}
	q.note = r.gens.note(q.prefix)
	// After the note: a change that comes in between must not find the shared cache readable and the note taken late.
	q.shared = r.Cache != nil && !r.evicts.pending(key.prefix)
	var value []byte
	value, q.met = r.Memory.Get(q.prefix)
	q.copied = believed(value, q.note)
	return q
}

// conclude answers by what the shared cache was seen to hold, or by the source.
func (r *Resolver) conclude(ctx context.Context, q *quest) answer {
	if q.evicted() {
		r.gens.remove(q.prefix)
		r.bury(q.prefix)
		r.Metrics.revoked(DEL, time.Duration(r.clock.steady(time.Now())-q.began)*time.Millisecond, Scope{})
		q.note, q.copied = r.gens.note(q.prefix), nil
	}
	r.awaitLease(ctx, q)
	if q.why != doubted && q.held() && q.seen.Now < q.seen.Record.FreshUntil && !r.toVerify(q) {
		r.Metrics.looked(TierShared, hit)
		q.tier = TierShared
		return q.answer(r.keepSeen(q))
	}
	if q.shared {
		r.Metrics.looked(TierShared, miss)
	}
	return r.askSource(ctx, q)
}

// Who finds another's lease waits for its end this long. On a busy machine the holder may take a tenth of a second for
// what usually takes a few milliseconds, and each proxy that did not wait would ask for itself, again and again while it
// hears of the holder. A holder that died leaves half of the flight's time for an unshared look-up.
const leaseWait = flightBudget / 2

// awaitLease waits for the end of another's lease. The lease itself is heard of, too, and that is not its end.
func (r *Resolver) awaitLease(ctx context.Context, q *quest) {
	if !q.shared || q.seen.State != Leased {
		return
	}
	wait := r.leases.register(string(q.prefix))
	defer r.leases.forget(string(q.prefix), wait)
	patience, cancel := context.WithTimeout(ctx, leaseWait)
	defer cancel()
	// Once more to begin with: the lease may have ended before anybody would have been woken by that.
	for {
		q.note.looks = r.gens.note(q.prefix).looks
		r.read(ctx, q)
		if !q.shared || q.seen.State != Leased || patience.Err() != nil {
			return
		}
		wait.until(patience)
	}
}

func (q *quest) held() bool { return q.shared && q.seen.State == Held }

// evicted says that the record which the copy was made of has been taken out of the shared cache: a look came, and
// what it was about is that nothing, or somebody's lease, stands there now. After a doubt, absence proves nothing.
func (q *quest) evicted() bool {
	if q.copied == nil || !q.shared || !q.copied.is(flagShared) || q.seen.State != Absent && q.seen.State != Leased {
		return false
	}
	return q.looked() && !q.inDoubt()
}

func (q *quest) answer(e entry) answer {
	return answer{entry: e, reason: Allowed, tier: q.tier, note: q.note}
}

func (q *quest) failed(reason Reason) answer {
	return answer{reason: reason, tier: q.tier, note: q.note, flooded: q.flooded}
}

// read looks at the shared cache; one that cannot be read is left alone for the rest of the quest.
func (r *Resolver) read(ctx context.Context, q *quest) {
	if !q.shared {
		return
	}
	asked := time.Now()
	reading, err := r.Cache.Get(ctx, string(q.prefix))
	if err != nil {
		r.Metrics.looked(TierShared, failure)
		q.shared = false
		return
	}
	r.saw(q, reading, asked)
}

func (r *Resolver) saw(q *quest, reading Reading, asked time.Time) {
	r.clock.heard(reading.Now, asked, time.Now())
	if reading.State == Held && r.outdated(q.prefix, &reading.Record) {
		reading.State, reading.Record = Forged, Record{}
	}
	if q.contested = q.overwritten(reading); q.contested {
		reading.State = Foreign
	}
	q.seen = reading
}

// overwritten says that what was found in the place of our own record is one that we may not believe. It is left alone
// until the copy wants to be refreshed: whoever wrote it (a proxy with another secret), or made it void (a floor ahead of
// the shared cache's clock), would do so again at once, and both would read the source for ever.
func (q *quest) overwritten(reading Reading) bool {
	return reading.State == Forged && q.copied != nil &&
		(q.copied.is(flagShared) || q.copied.is(flagContested) && q.began < q.copied.refreshAt())
}

// askSource reads the truth within the source's budget and stores what it says.
func (r *Resolver) askSource(ctx context.Context, q *quest) answer {
	known := q.why != doubted && (q.met || q.held())
	until := lastEntrance(ctx)
	if !known && q.turn == nil {
		if got, away := r.turnAway(q, until); away {
			return got
		}
	}
	leave, err := r.gate.enter(ctx, until, q.turn)
	if err != nil {
		r.Metrics.looked(TierSource, refused)
		return r.lastKnown(q)
	}
	leave = sync.OnceFunc(leave)
	defer leave()
	unleased := q.shared && q.seen.State == Absent && (r.doubtful(q) || !q.met && r.gate.barren())
	if q.shared && q.seen.State == Absent && !unleased && !r.lease(ctx, q) {
		return answer{again: true}
	}
	filledAt := q.seen.Now
	if !q.shared {
		filledAt = r.clock.shared(time.Now())
	}
	keys, err := r.query(ctx, string(q.prefix))
	leave() // the others need not wait for what Redis has to say
	if !known && err == nil {
		r.gate.found(len(keys))
	}
	switch {
	case err != nil:
		r.Metrics.looked(TierSource, failure)
		r.Logger.Debug("asking the source", "prefix", string(q.prefix), "error", err)
		r.unlease(ctx, q)
		return r.lastKnown(q)
	case len(keys) == 0:
		r.Metrics.looked(TierSource, negative)
		q.tier = TierSource
		q.note.looks = r.gens.note(q.prefix).looks
		if !r.release(ctx, q) {
			return answer{again: true}
		}
		r.keepNegative(q)
		return q.failed(NoSuchKey)
	case len(keys) > maxKeys:
		r.Logger.Error("asking the source", "prefix", string(q.prefix), "error", errTooManyKeys)
		r.unlease(ctx, q)
		return q.failed(Unavailable)
	}
	r.Metrics.looked(TierSource, hit)
	q.tier = TierSource
	if unleased {
		q.met, q.turn = true, nil
		return r.askSource(ctx, q)
	}
	readAt := r.clock.shared(time.Now())
	return r.store(ctx, q, &Record{
		Fill: rand.Text(), FilledAt: filledAt, ReadAt: readAt, FreshUntil: readAt + r.SharedTTL.Milliseconds(), Keys: keys,
	})
}

// turnAway answers who asks for a prefix never seen and may not ask the source. The others have a turn then. It does not
// wait.
func (r *Resolver) turnAway(q *quest, until time.Time) (got answer, away bool) {
	if q.why == unpaid {
		r.Metrics.looked(TierSource, refused)
		return q.failed(Flooding), true
	}
	var err error
	if q.turn, err = r.gate.unseenTurn(until); err != nil {
		r.Metrics.looked(TierSource, refused)
		return r.lastKnown(q), true
	}
	return answer{}, false
}

// query asks the source, and tells the gate how that went.
func (r *Resolver) query(ctx context.Context, prefix string) ([]Key, error) {
	r.Metrics.queried()
	began := time.Now()
	keys, err := r.Source.Lookup(ctx, prefix)
	r.gate.told(began, err)
	return keys, err
}

// A fifth of the flight's budget is kept for the look-up itself. Who got in at the last moment would run out of time in
// it, and a source that is merely busy would be taken for broken.
const lookupShare = flightBudget / 5

func lastEntrance(ctx context.Context) time.Time {
	deadline, _ := ctx.Deadline() // flights have one
	return deadline.Add(-lookupShare)
}

// doubtful says that the source may not answer, so that it is asked before a lease is taken and, if it answers, again
// after. Proxies hear of a lease, and cannot tell it from a DEL where nothing stands any more: in an outage, leases
// that come to nothing would cost everybody the last known answer.
func (r *Resolver) doubtful(q *quest) bool {
	return r.gate.fails() || !r.gate.answers() && (q.copied != nil || r.gate.untried())
}

// lease takes the lease on an absent key. False: somebody else took it or filled it meanwhile, so the shared cache is
// asked again.
func (r *Resolver) lease(ctx context.Context, q *quest) bool {
	asked := time.Now()
	reading, err := r.Cache.Lease(ctx, string(q.prefix))
	if err != nil {
		q.shared = false
		return true
	}
	r.saw(q, reading, asked)
	return reading.State != Held && reading.State != Leased
}

// release takes the value that was seen, a lease of ours or a record without a row, out of the shared cache. False: it
// was gone already, so an eviction came since.
func (r *Resolver) release(ctx context.Context, q *quest) bool {
	if !q.replaceable() {
		return true
	}
	released, err := r.Cache.Release(ctx, string(q.prefix), q.seen.Token)
	return released || err != nil // a lease that could not be released ends by itself after two seconds
}

// unlease gives up a lease of ours. A record that stands there is the last known answer, of all proxies: it stays. A
// flight that has no time left leaves this behind, for others would wait for the lease.
func (r *Resolver) unlease(ctx context.Context, q *quest) {
	if q.seen.State != Absent {
		return
	}
	if ctx.Err() == nil {
		r.release(ctx, q)
		return
	}
	r.flights.wg.Go(func() { r.release(context.WithoutCancel(ctx), q) })
}

// replaceable says that what stands in the shared cache may be replaced by us: not another's lease or a foreign value.
func (q *quest) replaceable() bool {
	return q.shared && q.seen.Token != "" && q.seen.State != Leased && q.seen.State != Foreign
}

// store puts a record into the shared cache and into memory.
func (r *Resolver) store(ctx context.Context, q *quest, rec *Record) answer {
	switch {
	case q.contested:
		return q.answer(r.keepContested(q, rec))
	case !q.replaceable():
		return q.answer(r.keep(q, rec, 0))
	}
	earlier := q.note.looks
	q.note.looks = r.gens.note(q.prefix).looks
	stored, err := r.Cache.Store(ctx, string(q.prefix), q.seen.Token, *rec)
	switch {
	case err != nil: // what was heard before it has not been disproved
		q.note.looks = earlier
		return q.answer(r.keep(q, rec, 0))
	case !stored:
		return answer{again: true}
	}
	return q.answer(r.keep(q, rec, flagShared))
}

// keep stores a record in memory and returns the entry.
func (r *Resolver) keep(q *quest, rec *Record, flags byte) entry {
	return r.keepFor(q, rec, r.lifetime(q.began, r.clock.toSteady(rec.ReadAt), flags), flags)
}

// keepContested keeps a record that is not shared. The time of the next attempt to share it is not put off.
func (r *Resolver) keepContested(q *quest, rec *Record) entry {
	life := r.lifetime(q.began, r.clock.toSteady(rec.ReadAt), flagContested)
	if q.copied.is(flagContested) {
		life.freshUntil = min(life.freshUntil, q.copied.freshUntil())
		life.refreshAt = min(life.refreshAt, q.copied.refreshAt())
	}
	return r.keepFor(q, rec, life, flagContested)
}

// keepSeen keeps the fresh record that stands in the shared cache.
func (r *Resolver) keepSeen(q *quest) entry {
	if until, suspect := r.suspect(&q.seen.Record); suspect {
		return r.keepFor(q, &q.seen.Record, r.provisional(q, until), flagShared)
	}
	return r.keep(q, &q.seen.Record, flagShared)
}

func (r *Resolver) keepFor(q *quest, rec *Record, life lifetime, flags byte) entry {
	if flags&flagShared == 0 && r.buried(q.prefix) {
		flags |= flagBuried
	}
	e := newEntry(rec, q.note, life, flags)
	r.Memory.Set(q.prefix, e)
	if r.overtaken(string(q.prefix), q.answer(e)) {
		r.bury(q.prefix)
	}
	return e
}

// lifetime counts from before anything was read, so that a proxy that was stopped in between (SIGSTOP, a virtual machine)
// does not take what it read then for fresh.
func (r *Resolver) lifetime(began, readAt int64, flags byte) lifetime {
	if flags&flagLastKnown != 0 {
		now := r.clock.steady(time.Now())
		until := min(now+lastKnownInterval.Milliseconds(), readAt+r.StaleIfError.Milliseconds())
		return lifetime{freshUntil: until, refreshAt: now + lastKnownInterval.Milliseconds()/2, readAt: readAt}
	}
	ttl := r.CacheTTL.Milliseconds()
	ttl -= mathrand.Int64N(ttl/10 + 1) // so that keys stored together are not refreshed together
	return lifetime{freshUntil: began + ttl, refreshAt: began + ttl*8/10, readAt: readAt}
}

// unconfirmed says whether a look came since the answer was read or written. The lease of the quest itself came before
// that; its record is heard of afterwards, and perhaps by one message with a DEL that followed at once.
func (r *Resolver) unconfirmed(prefix string, a answer) bool {
	return r.gens.note([]byte(prefix)).looks != a.note.looks
}

// overtaken says whether a remove came since the quest behind a began.
func (r *Resolver) overtaken(prefix string, a answer) bool {
	return r.gens.note([]byte(prefix)).removes != a.note.removes
}
