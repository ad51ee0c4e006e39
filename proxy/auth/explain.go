package auth

import (
	"context"
	"slices"
	"time"
)

// Explanation is what each tier holds for one prefix, for people who wonder. It holds no hash.
type Explanation struct {
	Prefix string   `json:"prefix"`
	Memory TierView `json:"memory"`
	Redis  TierView `json:"redis"`
	Source TierView `json:"source"`
	Agree  bool     `json:"agree"` // no cache holds anything else than the source
}

// TierView is one tier's part. Times are milliseconds; State says what the tier would do with what it holds:
//
//	memory  fresh, unconfirmed (a look was heard), demoted, expired, last_known, removed, negative, absent
//	redis   fresh, expired, leased, forged, foreign, absent, evicting, unreachable, unused
//	source  present, absent, unreachable
type TierView struct {
	State    string    `json:"state"`
	Fill     string    `json:"fill,omitempty"`         // memory knows how it begins
	AgeMS    *int64    `json:"age_ms,omitempty"`       // since the source was read
	FreshMS  *int64    `json:"fresh_for_ms,omitempty"` // may be negative
	FilledAt int64     `json:"filled_at,omitempty"`    // Unix, on the shared cache's clock
	Keys     []KeyView `json:"keys,omitempty"`

	hashes []Hash
}

// KeyView is one key without its hash.
type KeyView struct {
	OrgID      string     `json:"org_id"`
	Alg        string     `json:"hash_alg"`
	Enabled    bool       `json:"enabled"`
	OrgEnabled bool       `json:"org_enabled"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
}

// Explain looks at every tier without changing any. It reads the source once, outside of the look-ups' budget.
func (r *Resolver) Explain(ctx context.Context, prefix string) Explanation {
	e := Explanation{
		Prefix: prefix, Memory: r.explainMemory([]byte(prefix)), Redis: r.explainShared(ctx, prefix),
		Source: r.explainSource(ctx, prefix),
	}
	e.Agree = agree(e.Memory, e.Redis, e.Source)
	return e
}

func (r *Resolver) explainMemory(prefix []byte) TierView {
	now := r.clock.steady(time.Now())
	n := r.gens.note(prefix)
	value, ok := r.Memory.Get(prefix)
	if isTombstone(value) {
		return TierView{State: "removed"}
	}
	e, whole := parseEntry(value)
	if !ok || !whole {
		if r.isNegative(prefix, n, now) {
			return TierView{State: "negative"}
		}
		return TierView{State: "absent"}
	}
	heard := e.note()
	if heard.removes != n.removes {
		return TierView{State: "removed"}
	}
	age, fresh := now-e.readAt(), e.freshUntil()-now
	view := TierView{State: "fresh", Fill: e.fill() + "…", AgeMS: &age, FreshMS: &fresh, FilledAt: e.filledAt()}
	switch {
	case heard.demotes != n.demotes:
		view.State = "demoted"
	case heard.looks != n.looks:
		view.State = "unconfirmed"
	case fresh <= 0:
		view.State = "expired"
	case e.is(flagLastKnown):
		view.State = "last_known"
	}
	for at := entryFixed; at < len(e); {
		var k entryKey
		k, at = e.key(at)
		view.add(k.key())
	}
	return view
}

func (r *Resolver) explainShared(ctx context.Context, prefix string) TierView {
	switch {
	case r.Cache == nil:
		return TierView{State: "unused"}
	case r.evicts.pending(prefix):
		return TierView{State: "evicting"}
	}
	reading, err := r.Cache.Get(ctx, prefix)
	if err != nil {
		return TierView{State: "unreachable"}
	}
	switch reading.State {
	case Leased:
		return TierView{State: "leased"}
	case Forged:
		return TierView{State: "forged"}
	case Foreign:
		return TierView{State: "foreign"}
	case Absent:
		return TierView{State: "absent"}
	}
	rec := &reading.Record
	age, fresh := reading.Now-rec.ReadAt, rec.FreshUntil-reading.Now
	view := TierView{State: "fresh", Fill: rec.Fill, AgeMS: &age, FreshMS: &fresh, FilledAt: rec.FilledAt}
	if fresh <= 0 {
		view.State = "expired"
	}
	for i := range rec.Keys {
		view.add(&rec.Keys[i])
	}
	return view
}

func (r *Resolver) explainSource(ctx context.Context, prefix string) TierView {
	keys, err := r.Source.Lookup(ctx, prefix)
	if err != nil {
		return TierView{State: "unreachable"}
	}
	if len(keys) == 0 {
		return TierView{State: "absent"}
	}
	view := TierView{State: "present"}
	for i := range keys {
		view.add(&keys[i])
	}
	return view
}

func (v *TierView) add(key *Key) {
	view := KeyView{OrgID: key.OrgID, Alg: key.Alg.String(), Enabled: key.Enabled, OrgEnabled: key.OrgEnabled}
	if !key.ExpiresAt.IsZero() {
		at := key.ExpiresAt.UTC().Truncate(time.Millisecond)
		view.ExpiresAt = &at
	}
	v.Keys = append(v.Keys, view)
	v.hashes = append(v.hashes, key.Hash)
}

// agree compares every cache that would answer with the source. A source that cannot be asked contradicts nobody.
func agree(memory, shared, source TierView) bool {
	if source.State == "unreachable" {
		return true
	}
	if memory.State == "negative" && len(source.Keys) > 0 {
		return false
	}
	for _, view := range [...]*TierView{&memory, &shared} {
		if len(view.Keys) > 0 && !view.same(&source) {
			return false
		}
	}
	return true
}

func (v *TierView) same(other *TierView) bool {
	return slices.Equal(v.hashes, other.hashes) && slices.EqualFunc(v.Keys, other.Keys, func(a, b KeyView) bool {
		at := func(t *time.Time) time.Time {
			if t == nil {
				return time.Time{}
			}
			return *t
		}
		return a.OrgID == b.OrgID && a.Alg == b.Alg && a.Enabled == b.Enabled && a.OrgEnabled == b.OrgEnabled &&
			at(a.ExpiresAt).Equal(at(b.ExpiresAt))
	})
}
